// The soak program runs a random mix of everything that a bus can do, in real
// time, and checks that the books of every call are right. In the root of the
// module, for so many minutes:
//
//	make soak MINUTES=10
//
// or in this directory:
//
//	go run . -for 10m
//
// One bus follows another. Each lives for a few seconds, and is then shut down or closed while
// calls are in flight. The program prints a line for each bus. If the books of a call are
// wrong, or goroutines or memory are left, the program prints that and exits with 1.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

func main() {
	length := flag.Duration("for", time.Minute, "about how `long` to go on")
	life := flag.Duration("life", 5*time.Second, "how `long` each bus lives")
	flag.Parse()
	if *length <= 0 || *life <= 0 {
		fmt.Fprintln(os.Stderr, "durations have to be positive")
		os.Exit(2)
	}
	if !soak(*length, min(*life, *length)) {
		os.Exit(1)
	}
}

// soak reports whether there were no errors.
func soak(length, life time.Duration) bool {
	begin, right := time.Now(), true
	atFirst := measure()
	fmt.Printf("%s %s/%s, %d processors, each bus lives for %v\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), life)
	fmt.Println("|    time | ended by | calls | results | late | goroutines | at rest | heap at rest |")
	fmt.Println("|--------:|:---------|------:|--------:|-----:|-----------:|--------:|-------------:|")
	for i := 0; time.Since(begin) < length && right; i++ {
		e := newEpoch(ends[i%len(ends)])
		stop := watch(life + time.Minute)
		e.live(life)
		rest := settled(atFirst)
		stop()
		e.atRest()
		fmt.Printf("| %6.1fs | %-8s | %5d | %7d | %4d | %10d | %7d | %9.1f MB |\n",
			time.Since(begin).Seconds(), e.end.name, e.auditor.calls.Load(), e.auditor.results.Load(), e.lates.count(), e.most, rest.goroutines, float64(rest.heap)/1e6)
		right = e.auditor.verdict() && rest.within(atFirst)
	}
	if right {
		fmt.Println("\nok: all books were right")
	}
	return right
}
