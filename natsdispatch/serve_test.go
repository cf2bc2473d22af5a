package natsdispatch

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// encoding/json writes a slice of bytes as a string, which is no array of results.
func TestBytesAreNoWholeReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type level byte
		d := dispatch.New[int, level]()
		defer d.Close()
		topic := dispatch.NewTopic[int, level]("oven")
		_, err1 := d.AddProducer(topic, func(context.Context, int) (level, error) { return 7, nil }, dispatch.WithName("a"))
		call, err2 := d.Send(t.Context(), topic, 7)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if array, ok := (typedCall[int, level]{call}).whole(safe{Codec: JSON{}}, []dispatch.Member{{Name: "a"}}); ok {
			t.Errorf("the whole reply is %s, want none", array)
		}
	})
}

// A reply that is one array says that each member has ended with one result. So a call of which any member did
// something else, or that goes on, or that has other members, is not whole.
func TestOnlyACallThatEndedWellIsWhole(t *testing.T) {
	gives := func(n int, err error) dispatch.StreamProducer[int, int] {
		return func(_ context.Context, req int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for range n {
					yield(req, nil)
				}
				if err != nil {
					yield(0, err)
				}
			}
		}
	}
	waits := func(ctx context.Context, req int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			yield(req, nil)
			<-ctx.Done()
		}
	}
	a, b, c := dispatch.Member{Name: "a"}, dispatch.Member{Name: "b"}, dispatch.Member{Name: "c"}
	for name, at := range map[string]struct {
		a, b    dispatch.StreamProducer[int, int]
		members []dispatch.Member
		want    string
	}{
		"two of one and none of another": {gives(2, nil), gives(0, nil), []dispatch.Member{a, b}, ""},
		"one result of each":             {gives(1, nil), gives(1, nil), []dispatch.Member{a, b}, "[7,7]"},
		"none of one":                    {gives(1, nil), gives(0, nil), []dispatch.Member{a, b}, ""},
		"two of one":                     {gives(1, nil), gives(2, nil), []dispatch.Member{a, b}, ""},
		"a failure after one":            {gives(1, nil), gives(1, errors.New("broken")), []dispatch.Member{a, b}, ""},
		"none, declined":                 {gives(1, nil), gives(0, dispatch.ErrDecline), []dispatch.Member{a, b}, ""},
		"a call that goes on":            {gives(1, nil), waits, []dispatch.Member{a, b}, ""},
		"a member too many":              {gives(1, nil), gives(1, nil), []dispatch.Member{a, b, c}, ""},
		"a member too few":               {gives(1, nil), gives(1, nil), []dispatch.Member{a}, ""},
		"another member in a place":      {gives(1, nil), gives(1, nil), []dispatch.Member{a, c}, ""},
		"no members":                     {gives(1, nil), gives(1, nil), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := dispatch.New[int, int]()
				defer d.Close()
				topic := dispatch.NewTopic[int, int]("oven")
				_, err1 := d.AddStreamProducer(topic, at.a, dispatch.WithName("a"))
				_, err2 := d.AddStreamProducer(topic, at.b, dispatch.WithName("b"))
				call, err3 := d.Send(t.Context(), topic, 7)
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				began := time.Now()
				array, ok := typedCall[int, int]{call}.whole(safe{Codec: JSON{}}, slices.Clone(at.members))
				if string(array) != at.want && ok || ok != (at.want != "") {
					t.Errorf("%s, %t; want %q", array, ok, at.want)
				}
				if waited := time.Since(began); waited != 0 {
					t.Errorf("it waits %v for the call", waited)
				}
				if _, ok := (typedCall[int, int]{call}).whole(safe{Codec: Gob{}}, at.members); ok {
					t.Error("an array in another codec than JSON")
				}
			})
		})
	}
}

// A node that has asked further nodes may name a node of which it knows no members. If the asker expects this node
// itself, only what the asker hears of the node counts.
func TestExpectedNodeThatAnotherNodeNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatch.New[int, int]()
		defer d.Close()
		topic := dispatch.NewTopic[int, int]("oven")
		if _, err := d.AddRelay(topic, func(_ context.Context, _ int, to *dispatch.Roster[int]) error {
			e := &rosterEar[int]{to: to, codec: safe{Codec: JSON{}}}
			hear := func(node string) func(frames string) {
				a := &tally{node: node, most: 10, limit: 10, to: e, standIn: dispatch.Member{Node: node, Name: anybody}}
				a.expected = a.standIn
				e.expect(a.expected)
				return func(frames string) {
					if _, err := a.hear(0, []byte(frames)); err != nil {
						t.Error(err)
					}
					e.flush()
				}
			}
			hub, cell := hear("hub"), hear("cell")
			hub("accept mid cell//=2A\nend 0 0 ok\nend 1 0 failed unreachable \"no accept\"\nfinal 2 0\n")
			cell("accept deep\nresult 0 1 1\n7\nend 0 1 ok\nfinal 1 1\n")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		call, err := d.Send(t.Context(), topic, 7)
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		report := call.Report()
		if n := d.Bus().Snapshot().Misuse; n != 0 || len(report.Outcomes) != 2 || !report.Complete() {
			t.Errorf("%d misuses of the roster; %v", n, report)
		}
	})
}
