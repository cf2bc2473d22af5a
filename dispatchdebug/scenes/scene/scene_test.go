package scene

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// data is what these tests read of data.json.
type data struct {
	Suspects []suspect `json:"suspects"`
	Earlier  []suspect `json:"earlier"`
	Calls    struct {
		Rows []struct {
			ID      uint64  `json:"id"`
			Used    float64 `json:"used"`
			Members int     `json:"members"`
			Ended   int     `json:"ended"`
			Waiting []struct {
				Name string `json:"name"`
			} `json:"waiting"`
		} `json:"rows"`
	} `json:"calls"`
	Topic struct {
		Members []struct {
			Name    string        `json:"name"`
			P50     time.Duration `json:"p50_ns"`
			P50More bool          `json:"p50_more"`
		} `json:"members"`
	} `json:"topic"`
	Call struct {
		Known   bool   `json:"known"`
		Verdict string `json:"verdict"`
		Rows    []struct {
			Name  string `json:"name"`
			State string `json:"state"`
			Text  string `json:"text"`
		} `json:"rows"`
	} `json:"call"`
}

type suspect struct {
	Kinds []string      `json:"kinds"`
	Name  string        `json:"name"`
	Text  string        `json:"text"`
	Topic string        `json:"topic"`
	Error string        `json:"error"`
	Call  uint64        `json:"call"`
	Lost  time.Duration `json:"lost_ns"`
	Also  []string      `json:"also"`
}

func (st *Stage) data(t *testing.T, parameters string) (d data) {
	t.Helper()
	synctest.Wait()
	r := httptest.NewRequest(http.MethodGet, "/data.json"+parameters, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost"
	w := httptest.NewRecorder()
	st.Handler.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return d
}

// played plays a scene in virtual time, and runs a test on its stage.
func played(t *testing.T, s Scene, test func(*testing.T, *Stage)) {
	synctest.Test(t, func(t *testing.T) {
		st := s.Play()
		defer st.Close()
		test(t, st)
	})
}

// In every scene the culprit is in the first row once the scene has gone on for a while, and
// stays there.
func TestTheCulpritIsNamedFirst(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
			played(t, s, func(t *testing.T, st *Stage) {
				time.Sleep(4 * time.Second)
				for _, at := range []time.Duration{3, 20, 1} {
					d := st.data(t, "")
					switch {
					case d.Suspects == nil:
						t.Fatal("suspects is null")
					case s.Culprit == "" && len(d.Suspects) > 0 && s.Name != "boot":
						t.Errorf("a suspect is named although nothing is wrong: %+v", d.Suspects)
					case s.Culprit != "" && len(d.Suspects) == 0:
						t.Errorf("no suspect is named")
					case s.Culprit != "" && d.Suspects[0].Name != s.Culprit:
						t.Errorf("the first suspect is %+v\nthe second %+v", d.Suspects[0], d.Suspects[1:])
					}
					for i, one := range d.Suspects {
						if slices.ContainsFunc(d.Suspects[:i], func(o suspect) bool { return o.Name == one.Name && o.Topic == one.Topic }) {
							t.Errorf("%s has two rows", one.Name)
						}
					}
					if len(d.Suspects) > 0 {
						t.Logf("%s: %s (lost %v)", d.Suspects[0].Name, d.Suspects[0].Text, d.Suspects[0].Lost)
					}
					time.Sleep(at * time.Second)
				}
			})
		})
	}
}

// While a call has used half of its time, a suspect is named.
func TestASlowCallAlwaysHasASuspect(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
			played(t, s, func(t *testing.T, st *Stage) {
				for range 25 {
					time.Sleep(230 * time.Millisecond)
					d := st.data(t, "")
					for _, c := range d.Calls.Rows {
						if c.Used >= 0.5 && len(d.Suspects) == 0 {
							t.Fatalf("a call has used %v of its time, and no suspect is named", c.Used)
						}
					}
				}
			})
		})
	}
}

// first plays a scene for a while and returns its first suspect.
func first(t *testing.T, name string, after time.Duration) (found suspect, all data) {
	t.Helper()
	s, ok := ByName(name)
	if !ok {
		t.Fatalf("no scene %s", name)
	}
	played(t, s, func(t *testing.T, st *Stage) {
		time.Sleep(after)
		if all = st.data(t, s.Page); len(all.Suspects) > 0 {
			found = all.Suspects[0]
		}
		if found.Call != 0 && !st.data(t, "?call="+json.Number(itoa(found.Call)).String()).Call.Known {
			t.Error("the call that shows it is gone")
		}
	})
	return found, all
}

func itoa(n uint64) string { b, _ := json.Marshal(n); return string(b) }

func TestWhatTheFirstRowSays(t *testing.T) {
	for name, text := range map[string]string{
		"slow-site":   "calls waiting, typically 1.99 s longer than others",
		"queue":       "has a queue: 36 calls wait in it, the first for 3.",
		"remote":      "calls, typically 3.99 s longer than others",
		"silent-node": "is silent: none of its 4 members has answered for ",
		"hung-run":    "has not returned, 29.4 s after the end of its call",
		"nested":      "bins and 2 more wait for it in nested calls",
		"producers":   "lacks producers: 3 calls wait for 2 more producers, the first for ",
		"places":      "senders wait for a place, 4 of 4 calls in flight; 4 of these wait for site-4",
		"listener":    "listens and is behind: ",
		"late":        "was late in ",
		"panic":       "panicked in 64 of its last 64 calls",
		"nobody":      "has no producer: asked without an answer ",
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := first(t, name, 30*time.Second)
			if !strings.Contains(got.Text, text) {
				t.Errorf("it says %q, want %q", got.Text, text)
			}
		})
	}
}

// The members of other machines count like the others: in calls in flight, in their waterfalls and in figures.
func TestACallWaitsForAMemberOfAnotherMachine(t *testing.T) {
	s, _ := ByName("remote")
	played(t, s, func(t *testing.T, st *Stage) {
		time.Sleep(9500 * time.Millisecond)
		d := st.data(t, "")
		if len(d.Calls.Rows) == 0 {
			t.Fatal("no call is in flight")
		}
		c := d.Calls.Rows[0]
		if c.Members != 9 || c.Ended != 8 || len(c.Waiting) != 1 || c.Waiting[0].Name != s.Culprit {
			t.Errorf("the call in flight is %+v", c)
		}
		call := st.data(t, "?call="+itoa(c.ID)).Call
		if !strings.HasSuffix(call.Verdict, "waiting for") {
			t.Errorf("the verdict is %q", call.Verdict)
		}
		for _, r := range call.Rows {
			want := "ok 8 ms"
			switch r.Name {
			case "site-0":
				want = "ok 4 ms"
			case s.Culprit:
				want = "pending 1.1 s so far"
			}
			if got := r.State + " " + r.Text; got != want {
				t.Errorf("the row of %s says %q, want %q", r.Name, got, want)
			}
		}
		p50 := make(map[string]time.Duration)
		for _, m := range st.data(t, "?topic="+measure).Topic.Members {
			p50[m.Name] = m.P50
		}
		if p50["cell-1/site-3"] != 8*ms || p50[s.Culprit] != 4*time.Second {
			t.Errorf("the medians are %v", p50)
		}
	})
}

// The row of the leaf stands for those that wait for it in nested calls.
func TestNestedCallsAreOneRow(t *testing.T) {
	if _, all := first(t, "nested", 30*time.Second); len(all.Suspects) != 1 {
		t.Errorf("suspects: %+v", all.Suspects)
	}
}

func TestEqualErrorsAreOneRow(t *testing.T) {
	got, all := first(t, "errors", 5*time.Second)
	if len(all.Suspects) != 1 || len(got.Also) != 8 || !strings.Contains(got.Error, "refused") {
		t.Errorf("got %+v", all.Suspects)
	}
}

func TestWhatFailedLongAgoStandsApart(t *testing.T) {
	_, all := first(t, "boot", 2*time.Minute)
	if len(all.Suspects) != 0 || len(all.Earlier) != 1 || all.Earlier[0].Name != "site-2" {
		t.Errorf("now %+v, earlier %+v", all.Suspects, all.Earlier)
	}
}

// The quantiles of a member whose runs are cut off are shown as lower bounds.
func TestCutOffRunsAreMoreThan(t *testing.T) {
	_, all := first(t, "quorum", 20*time.Second)
	for _, m := range all.Topic.Members {
		if m.P50More != (m.Name != "site-1") {
			t.Errorf("%s: p50 %v, more: %v", m.Name, m.P50, m.P50More)
		}
	}
}

// While the page is open, it knows for how long senders have waited. After a time without a look
// it does not.
func TestWaitingSendersLoseTimeAsLongAsTheyAreSeen(t *testing.T) {
	s, _ := ByName("places")
	played(t, s, func(t *testing.T, st *Stage) {
		lost := func() time.Duration {
			found := st.data(t, "").Suspects
			if len(found) == 0 || found[0].Name != s.Culprit {
				t.Fatalf("suspects: %+v", found)
			}
			return found[0].Lost
		}
		for range 10 {
			time.Sleep(time.Second)
			lost()
		}
		if got := lost(); got < 50*time.Second {
			t.Errorf("the senders have lost %v in 10 s", got)
		}
		time.Sleep(time.Minute)
		if got := lost(); got > 5*time.Second {
			t.Errorf("after a minute without a look the senders have lost %v", got)
		}
	})
}

// A member that was late each time is reported as late, and not also as one that kept calls
// waiting.
func TestLatenessIsSaidOnce(t *testing.T) {
	got, _ := first(t, "long-name", 30*time.Second)
	if strings.Contains(got.Text, "kept") || !strings.Contains(got.Text, "was late in") {
		t.Errorf("it says %q", got.Text)
	}
}
