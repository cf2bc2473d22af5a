package recipes_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes/internal/shops"
)

var price = dispatch.NewTopic[string, float64]("shop.price", dispatch.WithTimeout(time.Minute))

func add(d *dispatch.Dispatcher[string, float64], name string, p dispatch.Producer[string, float64]) {
	if _, err := d.AddProducer(price, p, dispatch.WithName(name)); err != nil {
		log.Fatal(err)
	}
}

// ask asks for the price of a lamp, and prints the outcome of each shop.
func ask(d *dispatch.Dispatcher[string, float64]) {
	call, err := d.Send(context.Background(), price, "lamp")
	if err != nil {
		log.Fatal(err)
	}
	if err := call.Wait(context.Background()); err != nil {
		log.Fatal(err)
	}
	prices := make(map[dispatch.Member]float64)
	for r := range call.Results() {
		prices[r.From] = r.Value
	}
	for _, o := range call.Report().Outcomes {
		if o.State == dispatch.StateOK {
			fmt.Printf("%v: %.2f\n", o.Member, prices[o.Member])
		} else {
			fmt.Printf("%v: %v, %v\n", o.Member, o.State, o.Err)
		}
	}
}

// counting counts the requests that reach a shop.
func counting(n *atomic.Int32, shop http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		shop(w, r)
	}
}

func ExampleFetch() {
	good := httptest.NewServer(shops.Sells(12.5))
	defer good.Close()
	broken := httptest.NewServer(http.HandlerFunc(shops.Fails))
	defer broken.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	defer closed.Close()

	d := dispatch.New[string, float64]()
	add(d, "good", recipes.Fetch(http.DefaultClient, good.URL))
	add(d, "broken", recipes.Fetch(http.DefaultClient, broken.URL))
	add(d, "sold out", recipes.Fetch(http.DefaultClient, closed.URL))
	ask(d)
	// Output:
	// good: 12.50
	// broken: failed, 503 Service Unavailable
	// sold out: declined, dispatch: declined
}

func ExampleRetry() {
	var requests atomic.Int32
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) < 3 {
			shops.Fails(w, r)
		} else {
			shops.Sells(12.5)(w, r)
		}
	}))
	defer shop.Close()

	d := dispatch.New[string, float64]()
	fetch := recipes.Fetch(http.DefaultClient, shop.URL)
	add(d, "shop", recipes.Retry(fetch, 4, 10*time.Millisecond, time.Second))
	ask(d)
	fmt.Println(requests.Load(), "requests")
	// Output:
	// shop: 12.50
	// 3 requests
}

func ExampleTimeLimit() {
	good := httptest.NewServer(shops.Sells(12.5))
	defer good.Close()
	hangs := httptest.NewServer(http.HandlerFunc(shops.Hangs))
	defer hangs.Close()

	d := dispatch.New[string, float64]()
	add(d, "good", recipes.Fetch(http.DefaultClient, good.URL))
	add(d, "hangs", recipes.TimeLimit(recipes.Fetch(http.DefaultClient, hangs.URL), 100*time.Millisecond))
	ask(d) // takes 100 ms, although the timeout of the topic is a minute
	// Output:
	// good: 12.50
	// hangs: failed, timeout exceeded
}

func ExampleBreaker() {
	var requests atomic.Int32
	broken := httptest.NewServer(counting(&requests, shops.Fails))
	defer broken.Close()

	d := dispatch.New[string, float64]()
	fetch := recipes.Fetch(http.DefaultClient, broken.URL)
	add(d, "broken", recipes.Breaker(fetch, 2, time.Hour))
	for range 4 {
		ask(d)
	}
	fmt.Println(requests.Load(), "requests")
	// Output:
	// broken: failed, 503 Service Unavailable
	// broken: failed, 503 Service Unavailable
	// broken: failed, circuit breaker open
	// broken: failed, circuit breaker open
	// 2 requests
}

func ExampleRateLimit() {
	var requests atomic.Int32
	shop := httptest.NewServer(counting(&requests, shops.Sells(12.5)))
	defer shop.Close()

	d := dispatch.New[string, float64]()
	fetch := recipes.Fetch(http.DefaultClient, shop.URL)
	limiter := rate.NewLimiter(rate.Every(time.Hour), 2) // two requests at once, then one an hour
	add(d, "shop", recipes.RateLimit(fetch, limiter))
	for range 3 {
		ask(d)
	}
	fmt.Println(requests.Load(), "requests")
	// Output:
	// shop: 12.50
	// shop: 12.50
	// shop: failed, rate: Wait(n=1) would exceed context deadline
	// 2 requests
}

func ExampleCached() {
	var requests atomic.Int32
	shop := httptest.NewServer(counting(&requests, shops.Sells(12.5)))
	defer shop.Close()

	d := dispatch.New[string, float64]()
	fetch := recipes.Fetch(http.DefaultClient, shop.URL)
	add(d, "shop", recipes.Cached(fetch, 1000, time.Hour))
	ask(d)
	ask(d)
	fmt.Println(requests.Load(), "request")
	// Output:
	// shop: 12.50
	// shop: 12.50
	// 1 request
}

func ExampleFilter() {
	cheap := httptest.NewServer(shops.Sells(9.9))
	defer cheap.Close()
	dear := httptest.NewServer(shops.Sells(19.9))
	defer dear.Close()

	d := dispatch.New[string, float64]()
	add(d, "cheap", recipes.Fetch(http.DefaultClient, cheap.URL))
	add(d, "dear", recipes.Fetch(http.DefaultClient, dear.URL))
	bargain := func(_ context.Context, r dispatch.Result[string, float64]) {
		fmt.Printf("%v has a %s for %.2f\n", r.From, r.Call.Request(), r.Value)
	}
	under10 := func(r dispatch.Result[string, float64]) bool { return r.Value < 10 }
	if _, err := d.AddListener(price, recipes.Filter(bargain, under10)); err != nil {
		log.Fatal(err)
	}
	if _, err := d.Gather(context.Background(), price, "lamp"); err != nil {
		log.Fatal(err)
	}
	if err := d.Shutdown(context.Background()); err != nil { // waits for the listener
		log.Fatal(err)
	}
	// Output: cheap has a lamp for 9.90
}

// All recipes around one producer. The wrapper that is added last is the first to run.
func Example() {
	var requests atomic.Int32
	shop := httptest.NewServer(counting(&requests, shops.Sells(12.5)))
	defer shop.Close()

	p := recipes.Fetch(http.DefaultClient, shop.URL)
	p = recipes.TimeLimit(p, 10*time.Second)                   // for each attempt
	p = recipes.RateLimit(p, rate.NewLimiter(10, 10))          // limits the attempts
	p = recipes.Retry(p, 3, 100*time.Millisecond, time.Second) // a run is up to three attempts
	p = recipes.Breaker(p, 5, time.Minute)                     // counts runs; while it is open there are no retries
	p = recipes.Once(p, func(item string) string { return item }, 30*time.Second)
	p = recipes.Cached(p, 1000, time.Hour) // a hit runs none of the above

	d := dispatch.New[string, float64]()
	add(d, "shop", p)
	ask(d)
	ask(d)
	fmt.Println(requests.Load(), "request")
	// Output:
	// shop: 12.50
	// shop: 12.50
	// 1 request
}
