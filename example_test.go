package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// The examples share a topic with shops that are asked for the price of a thing, and
// producers that answer at once or not at all.

var price = dispatch.NewTopic[string, float64]("shop.price")

// answers returns a producer that answers at once.
func answers(v float64) dispatch.Producer[string, float64] {
	return func(context.Context, string) (float64, error) { return v, nil }
}

// fails returns a producer that fails at once.
func fails(message string) dispatch.Producer[string, float64] {
	return func(context.Context, string) (float64, error) { return 0, errors.New(message) }
}

// silent is a producer that does not answer, and gives up when its context ends.
func silent(ctx context.Context, _ string) (float64, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// added returns the registration if it succeeded.
func added(r *dispatch.Registration, err error) *dispatch.Registration {
	if err != nil {
		log.Fatal(err)
	}
	return r
}

// The program of the README asks every site at the same time and prints each answer as it
// arrives. At the end it prints which sites did not answer, and why.
func Example() {
	measure := dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(100*time.Millisecond))
	cell := dispatch.New[string, float64]()
	for i, site := range []dispatch.Producer[string, float64]{
		func(context.Context, string) (float64, error) { return 3.31, nil },
		func(context.Context, string) (float64, error) { return 0, errors.New("probe is open") },
		func(ctx context.Context, _ string) (float64, error) { <-ctx.Done(); return 0, ctx.Err() },
	} {
		if _, err := cell.AddProducer(measure, site, dispatch.WithName(fmt.Sprint("site-", i+1))); err != nil {
			log.Fatal(err)
		}
	}

	call, err := cell.Send(context.Background(), measure, "vdd")
	if err != nil {
		log.Fatal(err)
	}
	for r := range call.Results() { // as they arrive
		fmt.Printf("%v measures %v V\n", r.From, r.Value)
	}
	for _, o := range call.Report().Outcomes { // one for every producer
		fmt.Println(o.Member, o.State, o.Err)
	}
	if err := cell.Shutdown(context.Background()); err != nil { // lets producers return and listeners catch up
		log.Fatal(err)
	}
	// Output:
	// site-1 measures 3.31 V
	// site-1 ok <nil>
	// site-2 failed probe is open
	// site-3 late context deadline exceeded
}

// Gather waits for all members and returns the values in the order in which the
// producers were registered, not in the order of the answers.
func ExampleProducer() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "lamp: 12.50")
	}))
	defer shop.Close()

	pages := dispatch.New[string, string]()
	page := dispatch.NewTopic[string, string]("shop.page")
	added(pages.AddProducer(page, func(ctx context.Context, path string) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, shop.URL+path, nil)
		if err != nil {
			return "", err
		}
		response, err := shop.Client().Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		// Read the body here and do not return it, because it is closed when ctx ends,
		// and so at the end of the call.
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}))

	body, err := pages.First(context.Background(), page, "/lamp")
	fmt.Println(body, err)
	// Output: lamp: 12.50 <nil>
}

func ExampleDispatcher_Gather() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5)))
	added(shops.AddProducer(price, answers(11.9)))

	prices, err := shops.Gather(context.Background(), price, "lamp")
	fmt.Println(prices, err)
	// Output: [12.5 11.9] <nil>
}

// Without producers, Gather does not wait.
func ExampleDispatcher_Gather_nobody() {
	shops := dispatch.New[string, float64]()
	_, err := shops.Gather(context.Background(), price, "lamp")
	fmt.Println(errors.Is(err, dispatch.ErrNoProducers))
	// Output: true
}

// First returns the first value and cancels the other producers.
func ExampleDispatcher_First() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, silent))
	added(shops.AddProducer(price, answers(12.5)))
	added(shops.AddProducer(price, fails("closed today")))

	p, err := shops.First(context.Background(), price, "lamp")
	fmt.Println(p, err)
	// Output: 12.5 <nil>
}

// Stream sends the request when the loop begins and yields each result as it
// arrives. If a member did not answer, the last pair has the error.
func ExampleDispatcher_Stream() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("south")))

	for r, err := range shops.Stream(context.Background(), price, "lamp") {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(r.From, r.Value)
	}
	// Output:
	// north 12.5
	// dispatch: shop.price: 1 of 2 members did not answer: south failed: closed today
}

// Leaving the loop cancels the other producers.
func ExampleDispatcher_Stream_break() {
	shops := dispatch.New[string, float64]()
	given := make(chan error, 1)
	added(shops.AddProducer(price, func(ctx context.Context, _ string) (float64, error) {
		<-ctx.Done()
		given <- context.Cause(ctx)
		return 0, ctx.Err()
	}))
	added(shops.AddProducer(price, answers(12.5)))

	for r := range shops.Stream(context.Background(), price, "lamp") {
		fmt.Println(r.Value)
		break
	}
	fmt.Println("the other producer:", <-given)
	// Output:
	// 12.5
	// the other producer: context canceled
}

// Any number of loops can read the results of a call, also after its end. Its report says how
// each member ended.
func ExampleDispatcher_Send() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("south")))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	for r := range call.Results() {
		fmt.Println(r.From, r.Value)
	}
	for r := range call.Results() {
		fmt.Println("once more:", r.From, r.Value)
	}
	for _, o := range call.Report().Outcomes {
		fmt.Println(o.Member, o.State)
	}
	// Output:
	// north 12.5
	// once more: north 12.5
	// north ok
	// south failed
}

// The sender of a request can end the call, with a cause.
func ExampleCall_Cancel() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, silent, dispatch.WithName("north")))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	call.Cancel(errors.New("customer left"))
	report := call.Report()
	fmt.Println(report.Reason)
	fmt.Println(report.Outcomes[0].Member, report.Outcomes[0].State, report.Outcomes[0].Err)
	// Output:
	// canceled
	// north canceled customer left
}

// A listener is called with each result of its topics, whichever caller sent the request. Its
// OnDone hook is called once at the end of each call.
func ExampleDispatcher_AddListener() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddListener(price, func(_ context.Context, r dispatch.Result[string, float64]) {
		fmt.Printf("%s at %v: %v\n", r.Call.Request(), r.From, r.Value)
	}, dispatch.OnDone(func(r dispatch.Report) {
		fmt.Println("done:", r.Reason)
	})))

	if _, err := shops.Send(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}
	if err := shops.Shutdown(context.Background()); err != nil { // waits for the listener
		log.Fatal(err)
	}
	// Output:
	// lamp at north: 12.5
	// done: all ended
}

// With OnOutcome a listener is also called for members without a result.
func ExampleOnOutcome() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("south")))
	added(shops.AddListener(price, func(context.Context, dispatch.Result[string, float64]) {},
		dispatch.OnOutcome(func(o dispatch.Outcome) {
			fmt.Println(o.Member, o.State, o.Err)
		})))

	if _, err := shops.Send(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}
	if err := shops.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: south failed closed today
}

// A result that arrives after the end of its call is delivered only to OnLate.
func ExampleDispatcher_OnLate() {
	shops := dispatch.New[string, float64]()
	release, heard := make(chan struct{}), make(chan struct{})
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		<-release // ignores its context
		return 12.5, nil
	}, dispatch.WithName("north")))
	shops.OnLate(func(r dispatch.Result[string, float64], by time.Duration) {
		fmt.Println("too late:", r.From, r.Value, by > 0)
		close(heard)
	})

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithTimeout(5*time.Millisecond))
	fmt.Println(prices, errors.Is(err, context.DeadlineExceeded))
	close(release)
	<-heard
	// Output:
	// [] true
	// too late: north 12.5 true
}

// With a quorum the call ends as soon as enough members have answered.
func ExampleWithQuorum() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, silent, dispatch.WithName("south")))
	added(shops.AddProducer(price, answers(11.9), dispatch.WithName("west")))

	call, err := shops.Send(context.Background(), price, "lamp", dispatch.WithQuorum(2))
	if err != nil {
		log.Fatal(err)
	}
	<-call.Done()
	report := call.Report()
	fmt.Println(report.Reason, report.Err())
	for _, o := range report.Outcomes {
		fmt.Println(o.Member, o.State, o.Err)
	}
	// Output:
	// satisfied <nil>
	// north ok <nil>
	// south canceled dispatch: satisfied
	// west ok <nil>
}

// The call also ends once its quorum is impossible.
func ExampleWithQuorum_lost() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, silent))
	added(shops.AddProducer(price, fails("closed today")))

	_, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithQuorum(2))
	fmt.Println(errors.Is(err, dispatch.ErrQuorumLost))
	// Output: true
}

// Under WithMajority more than half of the members have to answer.
func ExampleWithMajority() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, silent, dispatch.WithName("south")))
	added(shops.AddProducer(price, answers(11.9), dispatch.WithName("west")))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithMajority())
	fmt.Println(prices, err)

	closed := func(context.Context, string) (float64, error) {
		time.Sleep(10 * time.Millisecond)
		return 0, errors.New("closed today")
	}
	for _, name := range []string{"east", "mall", "outlet"} {
		added(shops.AddProducer(price, closed, dispatch.WithName(name)))
	}
	prices, err = shops.Gather(context.Background(), price, "lamp", dispatch.WithMajority())
	fmt.Println(prices)
	fmt.Println(err)
	// Output:
	// [12.5 11.9] <nil>
	// [12.5 11.9]
	// dispatch: shop.price: quorum of 4 lost: 2 of 6 members answered (1 member unfinished): east, mall, outlet failed: closed today
}

// Under WithRequired a quorum ends the call only after certain members have ended as well.
func ExampleWithRequired() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, silent, dispatch.WithName("south")))
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		time.Sleep(10 * time.Millisecond)
		return 9.9, nil
	}, dispatch.WithName("outlet")))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithQuorum(1), dispatch.WithRequired("outlet"))
	fmt.Println(prices, err)
	// Output: [12.5 9.9] <nil>
}

// A producer can have a shorter timeout than the call. After it, the member is late, and the
// call goes on without it.
func ExampleWithTimeout() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, silent, dispatch.WithName("south"), dispatch.WithTimeout(10*time.Millisecond)))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithTimeout(time.Hour))
	fmt.Println(prices)
	fmt.Println(err)
	// Output:
	// [12.5]
	// dispatch: shop.price: 1 of 2 members did not answer: south late: timeout of 10ms
}

// Under WithFailFast the first failure ends the call.
func ExampleWithFailFast() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, silent))
	added(shops.AddProducer(price, fails("closed today")))

	_, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithFailFast())
	fmt.Println(errors.Is(err, dispatch.ErrFailFast))
	// Output: true
}

// Under WithStall the call ends when no more results arrive.
func ExampleWithStall() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5)))
	added(shops.AddProducer(price, silent))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithStall(5*time.Millisecond))
	fmt.Println(prices, errors.Is(err, dispatch.ErrStalled))
	// Output: [12.5] true
}

// Under WithGrace the contexts of the producers end before the call, so that producers can
// still return a partial result.
func ExampleWithGrace() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, func(ctx context.Context, _ string) (float64, error) {
		best := 12.5
		<-ctx.Done() // search for a better price until then
		return best, nil
	}))

	prices, err := shops.Gather(context.Background(), price, "lamp",
		dispatch.WithTimeout(1005*time.Millisecond), dispatch.WithGrace(time.Second))
	fmt.Println(prices, err)
	// Output: [12.5] <nil>
}

// Under WithStagger the call asks the members one after the other: the next one when one
// fails or takes too long. With First, it asks only as many members as it needs.
func ExampleWithStagger() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("north")))
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("south")))
	added(shops.AddProducer(price, answers(11.9), dispatch.WithName("west")))

	call, err := shops.Send(context.Background(), price, "lamp", dispatch.WithQuorum(1), dispatch.WithStagger(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	for r := range call.Results() {
		fmt.Println(r.From, r.Value)
	}
	for _, o := range call.Report().Outcomes {
		fmt.Println(o.Member, o.State, "started:", o.Started)
	}
	// Output:
	// south 12.5
	// north failed started: true
	// south ok started: true
	// west canceled started: false
}

// Under WithMinProducers the call waits until enough producers are registered.
func ExampleWithMinProducers() {
	shops := dispatch.New[string, float64]()
	call, err := shops.Send(context.Background(), price, "lamp", dispatch.WithMinProducers(1))
	if err != nil {
		log.Fatal(err)
	}
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	for r := range call.Results() {
		fmt.Println(r.From, r.Value)
	}
	// Output: north 12.5
}

// WithTargets asks only the producers that it names. The error says which names no producer
// has.
func ExampleWithTargets() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, answers(11.9), dispatch.WithName("south")))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithTargets("south", "east"))
	fmt.Println(prices)
	fmt.Println(err)
	// Output:
	// [11.9]
	// dispatch: shop.price: no producer named "east"
}

// The producers of a group are replicas: the call asks one of them, and asks the next only if
// it fails. In the report the group is one member.
func ExampleWithDefaults() {
	strict := dispatch.NewTopic[string, float64]("shop.price", dispatch.WithFailFast(), dispatch.WithTargets("market"))
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(strict, answers(4.99), dispatch.WithName("corner")))
	added(shops.AddProducer(strict, fails("closed today"), dispatch.WithName("market")))

	_, err := shops.Gather(context.Background(), strict, "tea")
	fmt.Println(err)
	// This call waits for all shops, although the topic has WithFailFast.
	prices, err := shops.Gather(context.Background(), strict, "tea", dispatch.WithDefaults())
	fmt.Println(prices, err)
	// Output:
	// dispatch: shop.price: failed fast: market failed: closed today
	// [4.99] dispatch: shop.price: 1 of 2 members did not answer: market failed: closed today
}

func ExampleWithGroup() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("counter-1"), dispatch.WithGroup("north")))
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("counter-2"), dispatch.WithGroup("north")))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	<-call.Done()
	for _, o := range call.Report().Outcomes {
		fmt.Println(o.Member, o.State, "tried:", o.Tried)
	}
	// Output: north/counter-2 ok tried: 2
}

// Under WithHedge the call also asks the next replica if one takes too long.
func ExampleWithHedge() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, silent, dispatch.WithGroup("north")))
	added(shops.AddProducer(price, answers(12.5), dispatch.WithGroup("north")))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithHedge(5*time.Millisecond))
	fmt.Println(prices, err)
	// Output: [12.5] <nil>
}

// Under WithHedgeQuantile the group's latencies determine when the call asks the next replica.
func ExampleWithHedgeQuantile() {
	shops := dispatch.New[string, float64]()
	var stuck atomic.Bool
	for range 2 {
		added(shops.AddProducer(price, func(ctx context.Context, thing string) (float64, error) {
			if stuck.Swap(false) {
				return silent(ctx, thing)
			}
			return 12.5, nil
		}, dispatch.WithGroup("north")))
	}
	hedge := dispatch.WithHedgeQuantile(0.95)
	for range 20 { // records latencies
		if _, err := shops.Gather(context.Background(), price, "lamp", hedge); err != nil {
			log.Fatal(err)
		}
	}
	stuck.Store(true) // for the replica that is asked first
	prices, err := shops.Gather(context.Background(), price, "lamp", hedge)
	fmt.Println(prices, err)
	// Output: [12.5] <nil>
}

// A stream producer returns any number of results. Each is delivered at once.
func ExampleDispatcher_AddStreamProducer() {
	shops := dispatch.New[string, float64]()
	added(shops.AddStreamProducer(price, func(context.Context, string) iter.Seq2[float64, error] {
		return func(yield func(float64, error) bool) {
			for _, p := range []float64{14.9, 12.5, 11.9} {
				if !yield(p, nil) {
					return // the call has ended
				}
			}
		}
	}, dispatch.WithName("auction")))

	for r, err := range shops.Stream(context.Background(), price, "lamp") {
		fmt.Println(r.From, r.Value, err)
	}
	// Output:
	// auction 14.9 <nil>
	// auction 12.5 <nil>
	// auction 11.9 <nil>
}

// A relay answers for members in other processes and names them. A member whose end it does
// not report is lost.
func ExampleDispatcher_AddRelay() {
	shops := dispatch.New[string, float64]()
	added(shops.AddRelay(price, func(_ context.Context, _ string, to *dispatch.Roster[float64]) error {
		north := dispatch.Member{Node: "city-2", Name: "north"}
		south := dispatch.Member{Node: "city-2", Name: "south"}
		to.Name(north)
		to.Name(south)
		to.Result(north, 12.5)
		to.End(north, nil)
		return nil
	}))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	for r := range call.Results() {
		fmt.Println(r.From, r.Value)
	}
	for _, o := range call.Report().Outcomes {
		fmt.Println(o.Member, o.State, "lost:", errors.Is(o.Err, dispatch.ErrLost))
	}
	// Output:
	// city-2/north 12.5
	// city-2/north ok lost: false
	// city-2/south failed lost: true
}

// busy counts how many goroutines are in it at the same time.
type busy struct{ now, most atomic.Int64 }

func (b *busy) enter() {
	now := b.now.Add(1)
	for most := b.most.Load(); now > most && !b.most.CompareAndSwap(most, now); most = b.most.Load() {
	}
}

func (b *busy) leave() { b.now.Add(-1) }

// WithParallelism bounds how many members of a call run at the same time.
func ExampleWithParallelism() {
	shops := dispatch.New[string, float64]()
	var inside busy
	for range 8 {
		added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
			inside.enter()
			defer inside.leave()
			return 12.5, nil
		}))
	}

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithParallelism(2))
	fmt.Println(len(prices), err, inside.most.Load() <= 2)
	// Output: 8 <nil> true
}

// WithConcurrency bounds how many runs of one producer are active at the same time. With 1
// its closure needs no lock.
func ExampleWithConcurrency() {
	shops := dispatch.New[string, float64]()
	sold := 0
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		sold++
		return 12.5, nil
	}, dispatch.WithConcurrency(1)))

	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			if _, err := shops.Gather(context.Background(), price, "lamp"); err != nil {
				log.Fatal(err)
			}
		})
	}
	calls.Wait()
	fmt.Println(sold)
	// Output: 20
}

// WithMaxQueue bounds how many runs wait for such a producer. Further calls do not ask it.
func ExampleWithMaxQueue() {
	shops := dispatch.New[string, float64]()
	started, release := make(chan struct{}, 3), make(chan struct{})
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		started <- struct{}{}
		<-release
		return 12.5, nil
	}, dispatch.WithConcurrency(1), dispatch.WithMaxQueue(1)))

	send := func() *dispatch.Call[string, float64] {
		call, err := shops.Send(context.Background(), price, "lamp")
		if err != nil {
			log.Fatal(err)
		}
		return call
	}
	first := send()
	<-started
	second, third := send(), send() // one of the two waits, the other is rejected
	select {
	case <-second.Done():
	case <-third.Done():
	}
	close(release)
	for _, call := range []*dispatch.Call[string, float64]{first, second, third} {
		<-call.Done()
		if err := call.Report().Err(); errors.Is(err, dispatch.ErrQueueFull) {
			fmt.Println("one was rejected")
		}
	}
	// Output: one was rejected
}

// WithMaxInFlight bounds the calls in flight on a bus. Send waits for a place; under
// WithNoWait it returns an error instead.
func ExampleWithMaxInFlight() {
	shops := dispatch.New[string, float64](dispatch.WithMaxInFlight(1))
	added(shops.AddProducer(price, silent))
	first, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}

	_, err = shops.Send(context.Background(), price, "lamp", dispatch.WithNoWait())
	fmt.Println(errors.Is(err, dispatch.ErrOverloaded))

	time.AfterFunc(5*time.Millisecond, func() { first.Cancel(nil) })
	_, err = shops.Send(context.Background(), price, "lamp")
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

// WithMailbox bounds how many results wait for a slow listener.
func ExampleWithMailbox() {
	shops := dispatch.New[string, float64]()
	busy, release := make(chan struct{}), make(chan struct{})
	added(shops.AddStreamProducer(price, func(context.Context, string) iter.Seq2[float64, error] {
		return func(yield func(float64, error) bool) {
			yield(14.9, nil)
			<-busy
			yield(12.5, nil)
			yield(11.9, nil)
		}
	}))
	added(shops.AddListener(price, func(_ context.Context, r dispatch.Result[string, float64]) {
		fmt.Println(r.Value)
		if r.Seq == 0 {
			close(busy)
			<-release
		}
	}, dispatch.WithMailbox(1, dispatch.DropOldest)))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	<-call.Done() // the call does not wait for the listener
	close(release)
	if err := shops.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 14.9
	// 11.9
}

// A new listener first gets the results that the topic retains.
func ExampleWithRetained() {
	latest := dispatch.NewTopic[string, float64]("shop.price", dispatch.WithRetain(2))
	shops := dispatch.New[string, float64]()
	prices := map[string]float64{"tea": 4.99, "lamp": 12.5, "chair": 45}
	added(shops.AddProducer(latest, func(_ context.Context, thing string) (float64, error) { return prices[thing], nil }))
	for _, thing := range []string{"tea", "lamp", "chair"} {
		if _, err := shops.Gather(context.Background(), latest, thing); err != nil {
			log.Fatal(err)
		}
	}
	// The display is added late, but still shows the last results.
	added(shops.AddListener(latest, func(_ context.Context, r dispatch.Result[string, float64]) {
		fmt.Println(r.Call.Request(), r.Value, "retained:", r.Retained)
	}, dispatch.WithRetained()))
	if _, err := shops.Gather(context.Background(), latest, "tea"); err != nil {
		log.Fatal(err)
	}
	if err := shops.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// lamp 12.5 retained: true
	// chair 45 retained: true
	// tea 4.99 retained: false
}

// With WithSemaphore several registrations share one resource: two topics, but only one
// instrument.
func ExampleWithSemaphore() {
	volts := dispatch.NewTopic[string, float64]("cell.volts")
	amperes := dispatch.NewTopic[string, float64]("cell.amperes")
	cell := dispatch.New[string, float64]()
	instrument := semaphore.NewWeighted(1)
	var inside busy
	for _, t := range []dispatch.Topic[string, float64]{volts, amperes} {
		added(cell.AddProducer(t, func(context.Context, string) (float64, error) {
			inside.enter()
			defer inside.leave()
			return 1, nil
		}, dispatch.WithSemaphore(instrument)))
	}

	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			if _, err := cell.Gather(context.Background(), []dispatch.Topic[string, float64]{volts, amperes}[i%2], "vdd"); err != nil {
				log.Fatal(err)
			}
		})
	}
	calls.Wait()
	fmt.Println(inside.most.Load())
	// Output: 1
}

// A pattern selects all topics of its types whose names match, including topics that are
// first used later.
func ExampleNewPattern() {
	cell := dispatch.New[string, float64]()
	added(cell.AddListener(dispatch.NewPattern[string, float64]("cell.*.volts"),
		func(_ context.Context, r dispatch.Result[string, float64]) {
			fmt.Println(r.Call.Topic(), r.Value)
		}))
	volts := dispatch.NewTopic[string, float64]("cell.east.volts")
	amperes := dispatch.NewTopic[string, float64]("cell.east.amperes")
	added(cell.AddProducer(dispatch.AnyOf(volts, amperes), answers(3.31)))

	for _, t := range []dispatch.Topic[string, float64]{volts, amperes} {
		if _, err := cell.Send(context.Background(), t, "vdd"); err != nil {
			log.Fatal(err)
		}
	}
	if err := cell.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: cell.east.volts 3.31
}

// Dispatchers of different types can share a bus and its lifecycle. A topic name has one pair
// of types on the bus.
func ExampleOn() {
	bus := dispatch.NewBus()
	prices := dispatch.On[string, float64](bus)
	stocks := dispatch.On[string, int](bus)
	stock := dispatch.NewTopic[string, int]("shop.stock")
	added(prices.AddProducer(price, answers(12.5)))
	added(stocks.AddProducer(stock, func(context.Context, string) (int, error) { return 3, nil }))

	p, err := prices.First(context.Background(), price, "lamp")
	fmt.Println(p, err)
	n, err := stocks.First(context.Background(), stock, "lamp")
	fmt.Println(n, err)

	_, err = stocks.Send(context.Background(), dispatch.NewTopic[string, int]("shop.price"), "lamp")
	fmt.Println(err)

	fmt.Println(bus.Close())
	_, err = prices.Send(context.Background(), price, "lamp")
	fmt.Println(errors.Is(err, dispatch.ErrClosed))
	// Output:
	// 12.5 <nil>
	// 3 <nil>
	// dispatch: topic has other types: "shop.price" is string → float64 on this bus, not string → int
	// <nil>
	// true
}

// A producer can read the topic, its own name and the remaining time of the call from its
// context.
func ExampleCallFrom() {
	shops := dispatch.New[string, float64]()
	discount := dispatch.NewTopic[string, float64]("shop.discount")
	added(shops.AddProducer(dispatch.AnyOf(price, discount), func(ctx context.Context, _ string) (float64, error) {
		info, _ := dispatch.CallFrom(ctx)
		fmt.Println(info.Topic, info.Member, info.Budget > 0)
		return 1, nil
	}, dispatch.WithName("north")))

	for _, t := range []dispatch.Topic[string, float64]{price, discount} {
		if _, err := shops.Gather(context.Background(), t, "lamp"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// shop.price north true
	// shop.discount north true
}

// A producer can decline a request. The report is complete without its answer.
func ExampleErrDecline() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5)))
	added(shops.AddProducer(price, func(_ context.Context, thing string) (float64, error) {
		return 0, fmt.Errorf("no %s here: %w", thing, dispatch.ErrDecline)
	}))

	prices, err := shops.Gather(context.Background(), price, "lamp")
	fmt.Println(prices, err)
	// Output: [12.5] <nil>
}

// A panic ends only one member of one call. The next call asks the producer again.
func ExamplePanicError() {
	shops := dispatch.New[string, float64](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		panic("the till is jammed")
	}, dispatch.WithName("north")))
	added(shops.AddProducer(price, answers(11.9), dispatch.WithName("south")))

	prices, err := shops.Gather(context.Background(), price, "lamp")
	fmt.Println(prices)
	var p *dispatch.PanicError
	if errors.As(err, &p) {
		fmt.Println(p.Value)
		fmt.Println("the stack has the place:", strings.Contains(string(p.Stack), "ExamplePanicError"))
	}
	// Output:
	// [11.9]
	// the till is jammed
	// the stack has the place: true
}

// A PartialError names every member without an answer and wraps their errors.
func ExamplePartialError() {
	shops := dispatch.New[string, float64]()
	errStrike := errors.New("on strike")
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) { return 0, errStrike }, dispatch.WithName("south")))
	added(shops.AddProducer(price, silent, dispatch.WithName("west")))

	prices, err := shops.Gather(context.Background(), price, "lamp", dispatch.WithTimeout(100*time.Millisecond))
	fmt.Println(prices)
	var partial *dispatch.PartialError
	if errors.As(err, &partial) {
		fmt.Println(partial.Report.Topic, partial.Report.Reason)
		for _, o := range partial.Report.Outcomes {
			fmt.Println(o.Member, o.State)
		}
	}
	fmt.Println(errors.Is(err, errStrike), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// [12.5]
	// shop.price deadline
	// north ok
	// south failed
	// west late
	// true true
}

// A registration can be removed at any time. Calls in flight keep the producer, and later
// calls do not ask it.
func ExampleRegistration_Remove() {
	shops := dispatch.New[string, float64]()
	north := added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))
	added(shops.AddProducer(price, answers(11.9), dispatch.WithName("south")))

	before, err := shops.Gather(context.Background(), price, "lamp")
	fmt.Println(before, err)
	north.Remove()
	after, err := shops.Gather(context.Background(), price, "lamp")
	fmt.Println(after, err)
	// Output:
	// [12.5 11.9] <nil>
	// [11.9] <nil>
}

// Drain waits for accepted work and then removes the registration.
func ExampleRegistration_Drain() {
	shops := dispatch.New[string, float64]()
	release := make(chan struct{})
	north := added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		<-release
		return 12.5, nil
	}))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	close(release)
	fmt.Println(north.Drain(context.Background()))
	<-call.Done()
	fmt.Println(call.Report().Complete())
	// Output:
	// <nil>
	// true
}

// Shutdown refuses new calls and waits for accepted work. After it, no producer or listener
// is called.
func ExampleBus_Shutdown() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5)))
	added(shops.AddListener(price, func(_ context.Context, r dispatch.Result[string, float64]) {
		fmt.Println(r.Call.Request(), r.Value)
	}))
	if _, err := shops.Send(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}

	fmt.Println(shops.Bus().Shutdown(context.Background()))
	_, err := shops.Send(context.Background(), price, "lamp")
	fmt.Println(err)
	// Output:
	// lamp 12.5
	// <nil>
	// dispatch: closed
}

// If its context ends first, Shutdown names what was still running.
func ExampleShutdownError() {
	shops := dispatch.New[string, float64]()
	started, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		close(started)
		<-release // ignores its context
		return 12.5, nil
	}, dispatch.WithName("north")))
	if _, err := shops.Send(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}
	<-started

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	fmt.Println(shops.Shutdown(ctx))
	// Output: dispatch: shutdown: context deadline exceeded; still running: call 1 of shop.price, producer north
}

// A snapshot contains the registrations and the calls in flight, as plain data.
func ExampleBus_Snapshot() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))

	topic := shops.Bus().Snapshot().Topics[0]
	topic.Producers[0].AddedAt = "" // the file and line differ from machine to machine
	data, err := json.Marshal(topic)
	fmt.Println(string(data), err)
	// Output: {"name":"shop.price","request":"string","result":"float64","producers":[{"name":"north","kind":"producer","on":"shop.price","added_at":"","waiting":0,"running":0,"abandoned":0,"failed":0}],"listeners":[]} <nil>
}

// An observer has hooks for all events on a bus. Its other hooks, the producers and the
// listeners get the context values of its start hooks.
func ExampleObserver() {
	type shopping struct{}
	done := make(chan struct{})
	shops := dispatch.New[string, float64](dispatch.WithObserver(dispatch.Observer{
		CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
			fmt.Printf("%s is asked for %v: %v\n", c.Topic, c.Request, c.Members)
			return context.WithValue(ctx, shopping{}, c.Request)
		},
		MemberEnd: func(ctx context.Context, _ dispatch.MemberInfo, o dispatch.Outcome) {
			fmt.Printf("%v: %v is %v\n", ctx.Value(shopping{}), o.Member, o.State)
		},
		CallEnd: func(context.Context, dispatch.Report) { close(done) },
	}))
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))

	if _, err := shops.Gather(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}
	<-done
	// Output:
	// shop.price is asked for lamp: [north]
	// lamp: north is ok
}

// An observer can be added to a bus in use, and removed again.
func ExampleBus_Observe() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(12.5), dispatch.WithName("north")))

	ended := make(chan dispatch.Reason)
	watching, err := shops.Bus().Observe(dispatch.Observer{
		CallEnd: func(_ context.Context, r dispatch.Report) { ended <- r.Reason },
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := shops.Gather(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-ended)
	watching.Remove()
	// Output: all ended
}

// Outcomes yields the outcome of each member as soon as the member ends.
func ExampleCall_Outcomes() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, fails("sold out"), dispatch.WithName("north")))
	told := make(chan struct{})
	added(shops.AddProducer(price, func(context.Context, string) (float64, error) {
		<-told
		return 13, nil
	}, dispatch.WithName("south")))

	call, err := shops.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	for o := range call.Outcomes() {
		fmt.Println(o.Member, o.State)
		if o.State == dispatch.StateFailed {
			close(told)
		}
	}
	// Output:
	// north failed
	// south ok
}

func ExampleReport_Missing() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(4.99), dispatch.WithName("corner")))
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("market")))
	added(shops.AddProducer(price, silent, dispatch.WithName("mall")))

	call, err := shops.Send(context.Background(), price, "tea", dispatch.WithTimeout(50*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	<-call.Done()
	for _, o := range call.Report().Missing() {
		fmt.Println(o.Member, o.State)
	}
	// Output:
	// market failed
	// mall late
}

// fmt.Println(call.Report()) prints a table.
func ExampleReport_String() {
	report := dispatch.Report{
		Call: 1, Topic: "shop.price", Reason: dispatch.ReasonAllEnded, Elapsed: 120 * time.Millisecond,
		Outcomes: []dispatch.Outcome{
			{Member: dispatch.Member{Name: "corner"}, State: dispatch.StateOK, Started: true, Tried: 1, Results: 1, Elapsed: 120 * time.Millisecond},
			{Member: dispatch.Member{Name: "market"}, State: dispatch.StateFailed, Started: true, Tried: 1, Elapsed: 8 * time.Millisecond, Err: errors.New("closed today")},
		},
	}
	fmt.Println(report)
	// Output:
	// Call        1 of shop.price
	// Reason      all ended
	// Elapsed     120ms
	// Complete()  false
	// Err()       dispatch: shop.price: 1 of 2 members did not answer: market failed: closed today
	//
	// Member  State   Started  Tried  Results  Elapsed  Err
	// corner  ok      true     1      1        120ms    <nil>
	// market  failed  true     1      0        8ms      closed today
}

func ExampleReport_LogValue() {
	shops := dispatch.New[string, float64]()
	added(shops.AddProducer(price, answers(4.99), dispatch.WithName("corner")))
	added(shops.AddProducer(price, fails("closed today"), dispatch.WithName("market")))

	call, err := shops.Send(context.Background(), price, "tea")
	if err != nil {
		log.Fatal(err)
	}
	<-call.Done()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "elapsed" {
			return slog.Attr{} // these differ each time
		}
		return a
	}}))
	logger.Info("asked", "price", call.Report())
	// Output:
	// level=INFO msg=asked price.topic=shop.price price.call=1 price.reason="all ended" price.members=2 price.answered=1 price.missing=[market] price.error="dispatch: shop.price: 1 of 2 members did not answer: market failed: closed today"
}
