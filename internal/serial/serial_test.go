package serial_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch/internal/serial"
)

// keeper owns a queue and writes down what it hears of it.
type keeper struct {
	mu    sync.Mutex
	lines []string
}

func (k *keeper) note(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lines = append(k.lines, fmt.Sprintf(format, args...))
}

func (k *keeper) Active(busy bool) { k.note("active %t", busy) }
func (k *keeper) Unwound(value any, stack []byte) {
	k.note("unwound %v, stack %t", value, len(stack) > 0)
}

func (k *keeper) want(t *testing.T, want ...string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if diff := cmp.Diff(want, k.lines); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// task is a task of a name that does what it is given.
type task struct {
	name string
	k    *keeper
	do   func()
	runs int
}

func (t *task) Run() {
	t.runs++
	t.k.note("%s", t.name)
	if t.do != nil && t.runs == 1 {
		t.do()
	}
}

// droppable is a task that may be dropped.
type droppable struct{ task }

func (d *droppable) Dropped() { d.k.note("dropped %s", d.name) }

func put(q *serial.Queue, tasks ...serial.Task) {
	for _, t := range tasks {
		if q.Put(t) {
			go q.Run()
		}
	}
}

func named(k *keeper, names string, do func()) (tasks []serial.Task) {
	for _, name := range strings.Fields(names) {
		tasks = append(tasks, &task{name: name, k: k, do: do})
	}
	return tasks
}

func TestTasksRunInOrder(t *testing.T) {
	for name, run := range map[string]func(*serial.Queue){"Run": (*serial.Queue).Run, "RunOne": (*serial.Queue).RunOne} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := new(keeper)
				q := &serial.Queue{Owner: k}
				for i, task := range named(k, "a b c", nil) {
					if got := q.Put(task); got != (i == 0) {
						t.Errorf("Put %d: %t", i, got)
					}
				}
				if q.Idle() || q.Len() != 3 || len(q.Tasks()) != 3 {
					t.Errorf("idle %t, %d tasks", q.Idle(), q.Len())
				}
				run(q)
				synctest.Wait()
				k.want(t, "active true", "a", "b", "c", "active false")
				if !q.Idle() || q.Len() != 0 || len(q.Tasks()) != 0 {
					t.Errorf("idle %t, %d tasks", q.Idle(), q.Len())
				}
				put(q, named(k, "d", nil)...)
				synctest.Wait()
				k.want(t, "active true", "a", "b", "c", "active false", "active true", "d", "active false")
			})
		})
	}
}

// RunOne is back after the first task, however long the others take.
func TestRunOneRunsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(keeper)
		q := &serial.Queue{Owner: k}
		tasks := named(k, "a b c", func() { time.Sleep(time.Second) })
		for _, task := range tasks {
			q.Put(task)
		}
		began := time.Now()
		q.RunOne()
		if since := time.Since(began); since != time.Second {
			t.Errorf("back after %v", since)
		}
		time.Sleep(3 * time.Second)
		k.want(t, "active true", "a", "b", "c", "active false")
	})
}

func TestTasksMayPutTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(keeper)
		q := &serial.Queue{Owner: k}
		put(q, &task{name: "a", k: k, do: func() { put(q, named(k, "c d", nil)...) }}, &task{name: "b", k: k})
		synctest.Wait()
		k.want(t, "active true", "a", "b", "c", "d", "active false")
	})
}

// A task that unwinds the stack is told of and run again; nothing else is lost.
func TestTasksThatUnwind(t *testing.T) {
	boom := fmt.Errorf("boom")
	for name, test := range map[string]struct {
		do   func()
		want string
	}{
		"panic":  {func() { panic(boom) }, "unwound boom, stack true"},
		"nil":    {func() { panic(nil) }, fmt.Sprintf("unwound %v, stack true", new(runtime.PanicNilError))},
		"Goexit": {runtime.Goexit, "unwound <nil>, stack true"},
	} {
		for kind, run := range map[string]func(*serial.Queue){"Run": (*serial.Queue).Run, "RunOne": (*serial.Queue).RunOne} {
			for _, width := range []int{0, 1, 3} {
				t.Run(fmt.Sprintf("%s, %s, width %d", name, kind, width), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						k := new(keeper)
						q := &serial.Queue{Owner: k, Width: int32(width)}
						runs := 0
						for i, task := range append(named(k, "a", test.do), named(k, "b", nil)...) {
							if q.Put(task) {
								if runs++; i == 0 || width == 3 {
									continue
								}
							}
						}
						go run(q) // one runner takes all, also that of the others
						synctest.Wait()
						for range runs - 1 {
							go run(q)
						}
						synctest.Wait()
						k.want(t, "active true", "a", test.want, "a", "b", "active false")
						if !q.Idle() || q.Len() != 0 {
							t.Errorf("idle %t, %d tasks", q.Idle(), q.Len())
						}
					})
				})
			}
		}
	}
}

func TestWidth(t *testing.T) {
	for width, want := range map[int]time.Duration{0: 10, 1: 10, 2: 5, 3: 4, 10: 1, 100: 1} {
		synctest.Test(t, func(t *testing.T) {
			k := new(keeper)
			q := &serial.Queue{Owner: k, Width: int32(width)}
			var running, most atomic.Int32
			began := time.Now()
			put(q, named(k, "a b c d e f g h i j", func() {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
			})...)
			for !q.Idle() {
				time.Sleep(time.Second / 2)
			}
			if since := time.Since(began).Truncate(time.Second); since != want*time.Second || int(most.Load()) != min(max(width, 1), 10) {
				t.Errorf("width %d: %d at once, for %v", width, most.Load(), since)
			}
			if k.lines[0] != "active true" || k.lines[len(k.lines)-1] != "active false" || len(k.lines) != 12 {
				t.Errorf("width %d: %q", width, k.lines)
			}
		})
	}
}

// What a bound drops: only droppable tasks that wait, and exactly one for each
// that is too many.
func TestBound(t *testing.T) {
	for name, test := range map[string]struct {
		bound     int
		dropFirst bool
		width     int
		puts      string // capitals are no droppable tasks
		busy      bool   // whether there are tasks in the hand
		dropped   string
		run       string
	}{
		"none":                   {0, false, 1, "a b c d", true, "", "a b c d"},
		"newest":                 {2, false, 1, "a b c d", true, "c d", "a b"},
		"oldest":                 {2, true, 1, "a b c d", true, "a b", "c d"},
		"newest, others between": {1, false, 1, "A a B b C", true, "b", "A a B C"},
		"oldest, others between": {1, true, 1, "A a B b C", true, "a", "A B b C"},
		"others are never many":  {1, true, 1, "A B C D E", true, "", "A B C D E"},
		"one is about to be run": {2, false, 1, "a b c d", false, "d", "a b c"},
		"oldest, about to be run": {
			2, true, 1, "a b c d", false, "a", "b c d",
		},
		"width, in hand":     {1, false, 3, "a b c", true, "b c", "a"},
		"width, about to be": {1, false, 3, "a b c d e f", false, "e f", "a b c d"},
	} {
		t.Run(name, func(t *testing.T) {
			k := new(keeper)
			q := &serial.Queue{Owner: k, Bound: int32(test.bound), DropFirst: test.dropFirst, Width: int32(test.width)}
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				runners := 0
				if test.busy {
					for range test.width {
						put(q, &task{name: "hand", k: new(keeper), do: func() { <-hold }})
					}
					synctest.Wait()
				}
				for _, name := range strings.Fields(test.puts) {
					var it serial.Task = &droppable{task{name: name, k: k}}
					if name < "a" {
						it = &task{name: name, k: k}
					}
					if q.Put(it) {
						runners++
					}
				}
				close(hold)
				synctest.Wait()
				for range runners {
					q.Run()
				}
				synctest.Wait()
			})
			var dropped, run []string
			for _, line := range k.lines {
				if name, ok := strings.CutPrefix(line, "dropped "); ok {
					dropped = append(dropped, name)
				} else if !strings.HasPrefix(line, "active") {
					run = append(run, line)
				}
			}
			if got := strings.Join(dropped, " "); got != test.dropped {
				t.Errorf("dropped %s, want %s", got, test.dropped)
			}
			if got := strings.Join(run, " "); got != test.run {
				t.Errorf("run %s, want %s", got, test.run)
			}
			if !q.Idle() || q.Len() != 0 {
				t.Errorf("idle %t, %d tasks", q.Idle(), q.Len())
			}
		})
	}
}

func TestDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(keeper)
		q := &serial.Queue{Owner: k}
		hold := make(chan struct{})
		tasks := append(named(k, "a", func() { <-hold }), named(k, "b c", nil)...)
		put(q, tasks...)
		synctest.Wait()
		if got := q.Tasks(); len(got) != 3 || got[0] != tasks[0] {
			t.Errorf("tasks %v", got)
		}
		if got := q.Discard(); len(got) != 2 || got[0] != tasks[1] || got[1] != tasks[2] {
			t.Errorf("discarded %v", got)
		}
		if q.Len() != 1 || q.Idle() || len(q.Discard()) != 0 {
			t.Errorf("idle %t, %d tasks", q.Idle(), q.Len())
		}
		put(q, named(k, "d", nil)...)
		close(hold)
		synctest.Wait()
		k.want(t, "active true", "a", "d", "active false")
	})
}

// On real processors: each task runs once, and as long as there is a task there
// is somebody to run it.
func TestManyPutters(t *testing.T) {
	for _, width := range []int{1, 4} {
		const putters, each = 8, 500
		k := new(keeper)
		q := &serial.Queue{Owner: k, Width: int32(width)}
		var ran atomic.Int64
		var running, putting sync.WaitGroup
		running.Add(putters * each)
		for range putters {
			putting.Go(func() {
				for range each {
					put(q, funcTask(&ran, &running))
				}
			})
		}
		putting.Wait()
		running.Wait()
		for !q.Idle() {
			runtime.Gosched()
		}
		if ran.Load() != putters*each || q.Len() != 0 {
			t.Errorf("%d ran, %d are left", ran.Load(), q.Len())
		}
		for i, line := range k.lines {
			if want := fmt.Sprintf("active %t", i%2 == 0); line != want {
				t.Fatalf("note %d is %s", i, line)
			}
		}
	}
}

type counted struct {
	ran  *atomic.Int64
	done *sync.WaitGroup
}

func (c *counted) Run() {
	c.ran.Add(1)
	c.done.Done()
}

func funcTask(ran *atomic.Int64, done *sync.WaitGroup) serial.Task { return &counted{ran, done} }

func TestFull(t *testing.T) {
	for _, dropFirst := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			k := new(keeper)
			q := &serial.Queue{Owner: k, Bound: 2, DropFirst: dropFirst}
			release := make(chan struct{})
			full := func(when string, want bool) {
				t.Helper()
				synctest.Wait()
				if q.Full() != want {
					t.Errorf("%s: full %t", when, !want)
				}
			}
			next := func(name string) { put(q, &droppable{task{name: name, k: k, do: func() { <-release }}}) }
			full("empty", false)
			next("a") // in hand
			next("b")
			full("one waits", false)
			next("c")
			full("two wait", true)
			next("d") // is one too many
			full("one is dropped", true)
			release <- struct{}{}
			full("one is taken", false)
			next("e")
			full("two wait again", true)
			q.Discard()
			full("discarded", false)
			close(release)
		})
	}
	q := &serial.Queue{Owner: new(keeper)}
	put(q, &task{k: new(keeper)})
	if q.Full() {
		t.Error("a queue without a bound is full")
	}
}

// A full queue that drops its first tasks takes others for ever, in no more room.
func TestFullQueueDoesNotGrow(t *testing.T) {
	for name, front := range map[string]serial.Task{"droppable": nil, "behind one that is not": &task{k: new(keeper)}} {
		t.Run(name, func(t *testing.T) {
			k := new(keeper)
			q := &serial.Queue{Owner: k, Bound: 16, DropFirst: true}
			release := make(chan struct{})
			begun := make(chan struct{})
			put(q, &task{k: k, do: func() { close(begun); <-release }})
			<-begun
			if front != nil {
				put(q, front)
			}
			var spare serial.Task = &expendable{}
			for range 100 { // until the array is as large as it gets
				q.Put(&expendable{})
			}
			if n := testing.AllocsPerRun(1000, func() {
				dropped, _ := q.Exchange(spare)
				spare = dropped
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
			if got, want := q.Len(), map[bool]int{false: 17, true: 18}[front != nil]; got != want {
				t.Errorf("%d tasks, want %d", got, want)
			}
			close(release)
		})
	}
}

// expendable is a task that may be dropped.
type expendable struct{ _ int }

func (c *expendable) Run()     {}
func (c *expendable) Dropped() {}
