package dispatchdebug

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

var (
	//go:embed assets/page.html
	pageHTML string
	//go:embed assets/page.css
	pageCSS string
	//go:embed assets/page.js
	pageJS string
)

var page = template.Must(template.New("").Funcs(template.FuncMap{
	"allSuspects": allSuspects, "beyond": beyond, "showsAll": showsAll, "ariaSort": ariaSort, "ariaSortBy": ariaSortBy, "inAll": inAll, "join": join, "updates": updates,
	"memberSort": memberSort, "only": onlyCritical, "outcomes": outcomes, "quickSearches": quickSearches, "rowSorts": rowSorts, "spark": drawSpark, "searchMembers": searchMembers, "searchRows": searchRows, "searchTopics": searchTopics,
	"bytes": bytesText, "callLink": callLink, "clock": clock, "count": countAny, "duration": duration,
	"evidence": evidence, "figure": newFigure, "hidden": hidden, "pageLink": pageLink, "percent": percent, "place": shortPlace,
	"remembered": remembered, "share": share, "short": shortType, "sortLink": sortLink, "suspicion": symbolOfKind,
	"symbol": symbol, "symbolOf": newSymbol, "topicLink": topicLink, "types": types, "waited": waited,
}).Parse(pageHTML)).Lookup("page")

// pageData is what the template of the page gets.
type pageData struct {
	Nonce    string
	CSS      template.CSS
	JS       template.JS
	Title    string
	DataLink string
	Doc      *document
	Blank    blank
}

// blank is an empty row of each kind, for page.js to copy.
type blank struct {
	Suspect  suspect
	Flight   flightPart
	Waiting  waitingPart
	Topic    topicLine
	Member   memberPart
	Listener listenerPart
	Bucket   bucketPart
	Kept     keptPart
	Row      rowPart
	Bar      bar
	Tick     tick
	Found    keptPart
	Culprit  culprit
	Link     linkPart
	Node     nodePart
	States   stateCountPart
	Heard    heardPart
}

func newPageData(nonce string, q query, doc *document) *pageData {
	title := "dispatch"
	switch {
	case doc.Kept != nil:
		title = "Calls · " + title
	case doc.Call != nil:
		title = "Call #" + doc.Call.ID.String() + " · " + title
	case doc.Topic != nil:
		title = cut(q.Topic, mostName) + " · " + title
	}
	link := "data.json"
	if values := q.values(); len(values) > 0 {
		link += "?" + values.Encode()
	}
	// Both are ours, and embedded at build time.
	return &pageData{Nonce: nonce, CSS: template.CSS(pageCSS), JS: template.JS(pageJS), Title: title, DataLink: link, Doc: doc}
}

// A figure has the count of the last minute or of this moment, and maybe that of all.
type figure struct {
	Class, Label, Path string
	Value              any
	AllPath            string
	All                any
}

func newFigure(class, label, path string, value any, allPath string, all any) figure {
	return figure{class, label, path, value, allPath, all}
}

func inAll(v any) string { return countAny(v) + " in all" }

func types(t topicLine) string {
	if t.Request == "" {
		return "" // the topic is known only from its calls
	}
	return t.Request + " → " + t.Result
}

func updates(n uint64) string {
	if n == 1 {
		return "1 update was"
	}
	return count(n) + " updates were"
}

func join(list []string) string { return strings.Join(list, ", ") }

// Others says of how many other members the same is true.
func (s suspect) Others() string {
	n := len(s.Also) + s.MoreAlso
	switch {
	case n == 0, s.Kind == kindNames[kindSilent]: // its text says how many members it has
		return ""
	case n == 1:
		return "and " + s.Also[0]
	default:
		return "and " + count(n) + " others"
	}
}

func latency(d time.Duration, more bool) string {
	if more {
		return "> " + duration(d)
	}
	return duration(d)
}

// P50Text, P99Text and MaxText are the texts of the page.
func (l latencies) P50Text() string { return latency(l.P50, l.P50More) }
func (l latencies) P99Text() string { return latency(l.P99, l.P99More) }
func (l latencies) MaxText() string { return latency(l.Max, l.MaxMore) }

// searchForm is a form for a search on a page.
type searchForm struct {
	Query, Placeholder string
	Others             []parameter // of the address
}

type parameter struct {
	Name, Value string
	On          bool
}

func searchTopics(l *topicList) searchForm {
	f := searchForm{Query: l.Query, Placeholder: "name or type"}
	if l.Sort != "name" {
		f.Others = append(f.Others, parameter{Name: "sort", Value: l.Sort})
	}
	return f
}

func searchMembers(t *topicPart) searchForm {
	f := searchForm{t.Query, "name, state or error", []parameter{{Name: "topic", Value: t.Name}}}
	if t.Sort != "order" {
		f.Others = append(f.Others, parameter{Name: "sort", Value: t.Sort})
	}
	return f
}

func searchRows(c *callPart) searchForm {
	f := searchForm{c.Query, "name, state or error", []parameter{{Name: "call", Value: c.ID.String()}, {Name: "sort", Value: c.Sort}}}
	if c.Only != "" {
		f.Others = append(f.Others, parameter{Name: "only", Value: c.Only})
	}
	return f
}

func memberSort(t *topicPart, by string) string {
	return query{Topic: t.Name, hasTopic: true, Search: t.Query, Sort: by}.link()
}

// rowSorts returns the ways in which a waterfall can be sorted.
func rowSorts(c *callPart) (list []parameter) {
	for _, by := range []string{"order", "duration", "name", "state"} {
		list = append(list, parameter{by, query{Call: c.ID, hasCall: true, Search: c.Query, Sort: by, Only: c.Only}.link(), by == c.Sort})
	}
	return list
}

// suspectsInSight is how many suspects can be seen without scrolling their list.
const suspectsInSight = 4

// showsAll reports whether all suspects were asked for and are more than usual. Then their
// list has no bound.
func showsAll(doc *document) bool { return len(doc.Suspects) > mostSuspects }

// beyond returns the number of suspects that cannot be seen without scrolling.
func beyond(doc *document) int {
	if showsAll(doc) {
		return doc.MoreSuspects
	}
	return max(len(doc.Suspects)-suspectsInSight, 0) + doc.MoreSuspects
}

func allSuspects(doc *document) string {
	q := query{All: true}
	if doc.Topic != nil {
		q.Topic, q.hasTopic = doc.Topic.Name, true
	}
	return q.link()
}

func (q query) link() string { return "?" + q.values().Encode() }

// symbolPart is a symbol, and the binding that its state comes from; if that is
// empty, it stays as it is.
type symbolPart struct{ Path, State string }

func newSymbol(path, state string) symbolPart { return symbolPart{path, state} }

func symbol(state string) string { return "#s-" + state }

// symbolOfKind returns the state whose symbol stands for a kind of suspect.
func symbolOfKind(kind string) string {
	switch kind {
	case "stuck", "silent":
		return "rejected"
	case "waiting", "producers":
		return "pending"
	case "behind", "queue", "places":
		return "queued"
	case "delaying":
		return "late"
	case "nobody":
		return "canceled"
	case "dropped":
		return "gone"
	}
	return kind
}

func hidden(v any) template.HTMLAttr {
	if truth, _ := template.IsTrue(v); truth {
		return " hidden"
	}
	return ""
}

func countAny(v any) string {
	if n := reflect.ValueOf(v); n.CanUint() {
		return count(n.Uint())
	} else {
		return count(n.Int())
	}
}

func bytesText(n int) string {
	if n < 1<<20 {
		return count((n+1023)>>10) + " KiB"
	}
	return fraction(int64(n)*10>>20, 10) + " MiB"
}

func topicLink(name string) string       { return link("topic", name) }
func callLink(id dispatch.CallID) string { return link("call", id.String()) }
func remembered(k keptPart) string {
	return "#" + k.ID.String() + ", " + k.Reason
}
func (b bar) X() string                      { return scaled(b.Start, b.scale) }
func (b bar) Width() string                  { return scaled(b.Length, b.scale) }
func (t tick) X() string                     { return scaled(t.At, t.scale) }
func (r rowPart) EndX() string               { return scaled(r.End, r.scale) }
func (r rowPart) DeadlineX() string          { return scaled(r.Deadline, r.scale) }
func (c callPart) DeadlineX() string         { return scaled(c.Budget, c.Scale) }
func sortLink(l *topicList, s string) string { return l.link(s, 1) }
func pageLink(l *topicList, by int) string   { return l.link(l.Sort, l.Page+by) }

func waited(w waitingPart) string {
	if w.Running < 0 {
		return w.State
	}
	return duration(w.Running)
}

// evidence returns the address of the part of the page that shows most about a suspect.
func evidence(s suspect) string {
	if s.Call != 0 {
		return callLink(s.Call)
	}
	if s.Topic != "" {
		return topicLink(s.Topic)
	}
	return "#elsewhere" // it is a connection
}

func ariaSort(l *topicList, by string) string { return ariaSortBy(l.Sort, by) }

func ariaSortBy(sort, by string) string {
	switch {
	case sort != by:
		return "none"
	case by == "name":
		return "ascending"
	}
	return "descending"
}

func (l *topicList) link(sort string, page int) string {
	values := url.Values{}
	if l.Query != "" {
		values.Set("q", l.Query)
	}
	if sort != "name" {
		values.Set("sort", sort)
	}
	if page > 1 {
		values.Set("page", strconv.Itoa(page))
	}
	return "?" + values.Encode()
}

// A sparkPart is a small drawing of figures, and the figures.
type sparkPart struct {
	Path, Of, Draw, Text string
}

// drawSpark draws a list of figures, of which path says where page.js finds them and of what
// they are. The drawing has a bar for each, four wide, and is fourteen high.
func drawSpark(path, of string, figures any) sparkPart {
	v := reflect.ValueOf(figures)
	var list []int64
	for i := range v.Len() {
		if one := v.Index(i); one.CanInt() {
			list = append(list, one.Int())
		} else {
			list = append(list, int64(one.Uint()))
		}
	}
	return sparkPart{path, of, sparkPath(list), sparkText(of, list)}
}

func sparkPath(list []int64) string {
	var most int64
	for _, n := range list {
		most = max(most, n)
	}
	var b strings.Builder
	for i, n := range list {
		if n > 0 {
			h := max(int64(float64(n)/float64(most)*14+0.5), 1)
			fmt.Fprintf(&b, "M%d 14v-%dh3v%dz", 4*i, h, h)
		}
	}
	return b.String()
}

// sparkText returns the figures of the last minute in words.
func sparkText(of string, list []int64) string {
	var texts []string
	for _, n := range list {
		if of == "p99" {
			texts = append(texts, duration(time.Duration(n)))
		} else {
			texts = append(texts, count(n))
		}
	}
	return "last minute, each 5 s: " + strings.Join(texts, " · ")
}

// onlyCritical returns the address of the rows of the critical path of a call, or of all rows.
func onlyCritical(c *callPart) string {
	q := query{Call: c.ID, hasCall: true, Search: c.Query, Sort: c.Sort}
	if c.Only == "" {
		q.Only = "critical"
	}
	return q.link()
}

// quickSearches are searches of calls that are kept, with one click.
func quickSearches(topic string) []parameter {
	of := func(name, outcome, sort string) parameter {
		return parameter{Name: name, Value: query{hasCalls: true, Topic: topic, hasTopic: topic != "", Outcome: outcome, Sort: sort}.link()}
	}
	return []parameter{of("slow", "", "slowest"), of("late", "late", ""), of("failed", "failed", ""), of("all", "", "")}
}

// outcomes are what calls that are kept can be searched by.
func outcomes(now string) (list []parameter) {
	for _, s := range []string{"", "ok", "late", "failed", "panicked", "rejected", "gone", "declined", "canceled"} {
		name := s
		if s == "" {
			name = "any"
		}
		list = append(list, parameter{name, s, s == now})
	}
	return list
}
