package dispatchdebug

import (
	_ "embed"
	"html/template"
	"net/url"
	"reflect"
	"strconv"

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
	"ariaSort": ariaSort, "bytes": bytesText, "callLink": callLink, "clock": clock, "count": countAny, "duration": duration,
	"evidence": evidence, "figure": newFigure, "hidden": hidden, "pageLink": pageLink, "percent": percent, "place": shortPlace,
	"remembered": remembered, "share": share, "short": shortType, "sortLink": sortLink, "suspicion": suspicion,
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
	Culprit  culprit
	States   stateCountPart
	Heard    heardPart
}

func newPageData(nonce string, q query, doc *document) *pageData {
	title := "dispatch"
	switch {
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

type figure struct {
	Class, Label, Path string
	Value              any
}

func newFigure(class, label, path string, value any) figure { return figure{class, label, path, value} }

// symbolPart is a symbol, and the binding that its state comes from; if that is
// empty, it stays as it is.
type symbolPart struct{ Path, State string }

func newSymbol(path, state string) symbolPart { return symbolPart{path, state} }

func symbol(state string) string { return "#s-" + state }

// suspicion gives the state whose symbol stands for a kind of suspect.
func suspicion(kind string) string {
	switch kind {
	case "stuck":
		return "rejected"
	case "waiting":
		return "pending"
	case "behind":
		return "queued"
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
	return "#" + k.ID.String() + ", " + k.Reason + ", " + duration(k.Age) + " ago"
}
func types(t topicLine) string               { return t.Request + " → " + t.Result }
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

// evidence gives the address of what shows most about a suspect.
func evidence(s suspect) string {
	if s.Call != 0 {
		return callLink(s.Call)
	}
	return topicLink(s.Topic)
}

func ariaSort(l *topicList, by string) string {
	switch {
	case l.Sort != by:
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
