package scene

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const (
	ms      = time.Millisecond
	measure = "cell.measure"
)

// LongName is a topic's name that does not fit on a page.
var LongName = "line-3." + strings.Repeat("station_with_a_very_long_name.", 6) + "cell.measure"

func within(d time.Duration) dispatch.CallOption { return dispatch.WithTimeout(d) }

// sites adds quick sites, from number 1 on.
func (st *Stage) sites(topic string, n int) {
	for i := range n {
		st.produce(topic, fmt.Sprint("site-", i+1), takes(5*ms+time.Duration(i)*ms))
	}
}

func all() []Scene {
	return []Scene{
		{Name: "healthy", Shows: "five sites answer within 10 ms, and nothing is wrong", play: func(st *Stage) {
			st.sites(measure, 5)
			st.listen(measure, "datalog", func() {})
			st.keepSending(3, 30*ms, measure)
		}},
		{Name: "slow-site", Culprit: "site-5", Shows: "four sites take 5 ms, one always takes 2 s of the 5 s that there are", play: func(st *Stage) {
			st.sites(measure, 4)
			st.produce(measure, "site-5", takes(2*time.Second))
			st.keepSending(3, 100*ms, measure, within(5*time.Second))
		}},
		{Name: "queue", Culprit: "spectrometer", Shows: "one producer takes 100 ms and serves one call at a time, 40 senders want it", play: func(st *Stage) {
			st.produce("lab.spectrum", "spectrometer", takes(100*ms), dispatch.WithConcurrency(1))
			st.keepSending(40, 20*ms, "lab.spectrum", within(5*time.Second))
		}},
		{Name: "remote", Culprit: "cell-8/site-3", Shows: "a member on another machine hangs", play: func(st *Stage) {
			st.produce(measure, "site-0", takes(4*ms))
			st.relay(measure, 8, 1, func(node, site int) time.Duration {
				if node == 8 {
					return time.Hour
				}
				return 8 * ms
			})
			st.keepSending(2, 200*ms, measure, within(4*time.Second))
		}},
		{Name: "silent-node", Culprit: "cell-3", Shows: "none of the members of one machine answers", play: func(st *Stage) {
			st.relay(measure, 4, 4, func(node, site int) time.Duration {
				if node == 3 {
					return time.Hour
				}
				return 6 * ms
			})
			st.keepSending(2, 100*ms, measure, within(3*time.Second))
		}},
		{Name: "node-gone", Culprit: "cell-2", Shows: "one machine was switched off: its node is silent, and calls name it at once", play: func(st *Stage) {
			st.relay(measure, 3, 2, func(node, site int) time.Duration {
				if node == 2 {
					return isGone
				}
				return 6 * ms
			})
			st.gone(measure, 3, 2)
			st.keepSending(2, 100*ms, measure, within(3*time.Second))
		}},
		{Name: "hung-run", Culprit: "site-2", Shows: "one run hangs since the second call, and calls go on without trouble", play: func(st *Stage) {
			st.produce(measure, "site-1", takes(3*ms))
			st.produce(measure, "site-2", then(1, takes(3*ms), then(1, st.hangs(), takes(3*ms))))
			st.keepSending(4, 5*ms, measure, within(600*ms))
		}},
		{Name: "nested", Culprit: "probe", Shows: "calls are nested four deep, and only the leaf is slow", play: func(st *Stage) {
			st.produce("order.price", "pricing", st.asks("order.stock"))
			st.produce("order.stock", "stock", st.asks("bin.level"))
			st.produce("bin.level", "bins", st.asks("probe.read"))
			st.produce("probe.read", "probe", takes(time.Minute))
			st.produce("probe.read", "spare-probe", takes(3*ms))
			st.keepSending(2, 50*ms, "order.price", within(3*time.Second))
		}},
		{Name: "by-design", Culprit: "ledger", Shows: "80 calls are slow by design on one topic, and a lock hangs on another", play: func(st *Stage) {
			st.produce("report.render", "renderer", takes(1500*ms))
			st.keepSending(80, 10*ms, "report.render", within(20*time.Second))
			st.produce("account.book", "ledger", then(20, takes(4*ms), st.hangs()))
			st.keepSending(1, 20*ms, "account.book", within(time.Minute))
		}},
		{Name: "producers", Culprit: "cell.vote", Shows: "calls wait for two more producers than there are", play: func(st *Stage) {
			st.produce("cell.vote", "voter-1", takes(2*ms))
			st.keepSending(3, 50*ms, "cell.vote", dispatch.WithMinProducers(3), within(10*time.Second))
		}},
		{
			Name: "places", Culprit: "WithMaxInFlight", Shows: "four calls may be in flight, and 16 senders want to send", bus: []dispatch.BusOption{dispatch.WithMaxInFlight(4)},
			play: func(st *Stage) {
				st.sites(measure, 3)
				st.produce(measure, "site-4", takes(40*ms))
				st.keepSending(16, ms, measure, within(5*time.Second))
			},
		},
		{Name: "quorum", Page: "?topic=" + measure, Shows: "the first answer is enough, and one member, which needs 5 s, is cut off each time", play: func(st *Stage) {
			st.sites(measure, 2)
			st.produce(measure, "archive", takes(5*time.Second))
			st.keepSending(2, 20*ms, measure, dispatch.WithQuorum(1), within(8*time.Second))
		}},
		{Name: "listener", Culprit: "yield-report", Shows: "a listener hangs, and what it should have waits", play: func(st *Stage) {
			st.sites(measure, 4)
			st.listen(measure, "datalog", func() {})
			st.listen(measure, "yield-report", func() { <-st.release })
			st.keepSending(2, 50*ms, measure)
		}},
		{Name: "late", Culprit: "site-4", Shows: "a site does not come back in time, ignores the end of its call, and returns later", play: func(st *Stage) {
			st.sites(measure, 3)
			st.produce(measure, "site-4", func(context.Context, Pin) (Reading, error) { st.sleep(700 * ms); return Reading{}, nil })
			st.keepSending(2, 50*ms, measure, within(400*ms))
		}},
		{Name: "panic", Culprit: "site-3", Shows: "a site panics each time", play: func(st *Stage) {
			st.sites(measure, 2)
			st.produce(measure, "site-3", func(_ context.Context, p Pin) (Reading, error) {
				var calibration []float64
				return Reading{calibration[len(p.Name)]}, nil
			})
			st.keepSending(2, 60*ms, measure)
		}},
		{Name: "errors", Culprit: "site-01", Shows: "fourteen sites fail with the same error", play: func(st *Stage) {
			for i := range 14 {
				st.produce(measure, fmt.Sprintf("site-%02d", i+1), fails(4*ms, "dial tcp 10.0.3.7:5025: connect: connection refused"))
			}
			st.produce(measure, "site-15", takes(4*ms))
			st.keepSending(2, 60*ms, measure)
		}},
		{Name: "boot", Shows: "a site has failed when the program began, and is well since", play: func(st *Stage) {
			st.produce(measure, "site-1", takes(4*ms))
			st.produce(measure, "site-2", then(3, fails(2*ms, "not calibrated yet"), takes(4*ms)))
			st.keepSending(1, 2*time.Second, measure)
		}},
		{Name: "nobody", Culprit: "cell.mesure", Shows: "a sender has misspelt the topic", play: func(st *Stage) {
			st.sites(measure, 3)
			st.keepSending(1, 40*ms, measure)
			st.keepSending(1, 150*ms, "cell.mesure")
		}},
		{Name: "replica", Culprit: "probes/probe-2", Shows: "one of three replicas of a group takes 800 ms", play: func(st *Stage) {
			st.sites(measure, 2)
			st.produce(measure, "probe-1", takes(4*ms), dispatch.WithGroup("probes"))
			st.produce(measure, "probe-2", takes(800*ms), dispatch.WithGroup("probes"))
			st.produce(measure, "probe-3", takes(4*ms), dispatch.WithGroup("probes"))
			st.keepSending(3, 50*ms, measure, within(5*time.Second))
		}},
		{Name: "long-name", Culprit: "site-3", Shows: "the topic has a name of 200 bytes", play: func(st *Stage) {
			st.sites(LongName, 2)
			st.produce(LongName, "site-3", takes(time.Minute))
			st.keepSending(2, 50*ms, LongName, within(2*time.Second))
		}},
		{Name: "wide", Culprit: "site-317", Page: "?topic=" + measure, Shows: "500 producers, one of which is slow and one of which fails", play: func(st *Stage) {
			for i := range 500 {
				name, s := fmt.Sprintf("site-%03d", i+1), takes(time.Duration(2+i%7)*ms)
				switch i + 1 {
				case 317:
					s = takes(700 * ms)
				case 41:
					s = fails(3*ms, "probe card: contact 17 is open (12.4 MΩ)")
				}
				st.produce(measure, name, s)
			}
			st.keepSending(1, 100*ms, measure, within(3*time.Second))
		}},
		{Name: "storm", Culprit: "slow-6", Shows: "many sites fail, come late and hang at the same time", play: func(st *Stage) {
			st.produce(measure, "site-1", sometimes(30, st.hangs(), takes(5*ms)))
			for i := range 6 {
				st.produce(measure, fmt.Sprint("slow-", i+1), takes(time.Duration(200+90*i)*ms))
				st.produce(measure, fmt.Sprint("flaky-", i+1), sometimes(i+2, fails(3*ms, fmt.Sprint("read: channel ", i+1, " is noisy")), takes(5*ms)))
				topic := fmt.Sprint("line.", i+1, ".read")
				st.produce(topic, "meter", sometimes(i+2, takes(900*ms), takes(8*ms)))
				st.keepSending(1, time.Duration(20+10*i)*ms, topic, within(time.Second))
			}
			st.listen(measure, "trend", func() { st.sleep(40 * ms) }, dispatch.WithMailbox(4, dispatch.DropOldest))
			st.keepSending(3, 50*ms, measure, within(600*ms))
		}},
	}
}

// sometimes returns a site that passes every n-th request to one site, and the others to
// another.
func sometimes(n int, one, others site) site {
	s := others
	for range 1000 {
		s = then(n-1, others, then(1, one, s))
	}
	return s
}

// gone adds a link to these nodes, one of which has fallen silent when the scene began.
func (st *Stage) gone(topic string, nodes, silent int) {
	began := time.Now()
	must(st.Bus.AddLink(func() dispatch.LinkSnapshot {
		l := dispatch.LinkSnapshot{Name: "nats:dispatch.default", Topics: []string{topic}, State: "connected", Server: "nats://10.0.3.2:4222", Stray: 2}
		for n := 1; n <= nodes; n++ {
			node := dispatch.NodeSnapshot{Name: fmt.Sprint("cell-", n), State: "present", Topics: []string{topic}, HeardAgo: 300 * ms}
			if n == silent {
				node.State, node.HeardAgo, node.Error = "silent", 7*time.Second+time.Since(began), "dispatch: gone"
			}
			l.Nodes = append(l.Nodes, node)
		}
		return l
	}))
}

// isGone is how long a site takes on a node that is known to be gone.
const isGone time.Duration = -1

// relay adds a relay to sites on several nodes. takes returns the time that a site needs.
func (st *Stage) relay(topic string, nodes, sites int, takes func(node, site int) time.Duration) {
	must(st.on().AddRelay(topicOf(topic), func(ctx context.Context, _ Pin, to *dispatch.Roster[Reading]) error {
		done := make(chan struct{})
		left := 0
		for n := 1; n <= nodes; n++ {
			for k := 1; k <= sites; k++ {
				number := k
				if sites == 1 {
					number = 3
				}
				m := dispatch.Member{Node: fmt.Sprint("cell-", n), Name: fmt.Sprint("site-", number)}
				if takes(n, k) == isGone {
					m.Name = "*"
					to.Name(m)
					to.End(m, fmt.Errorf("%w: %s was last heard 7 s ago", dispatch.ErrGone, m.Node))
					break
				}
				to.Name(m)
				left++
				go func() {
					defer func() { done <- struct{}{} }()
					select {
					case <-time.After(takes(n, k)):
						to.Result(m, Reading{3.3})
						to.End(m, nil)
					case <-ctx.Done():
					}
				}()
			}
		}
		var err error
		for ; left > 0; left-- {
			<-done
		}
		if ctx.Err() != nil {
			err = errors.New("cut off")
		}
		return err
	}))
}
