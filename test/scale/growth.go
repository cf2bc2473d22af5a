package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// growing is an operation whose cost is measured at several sizes.
type growing struct {
	what  string
	sizes []int
	run   func(n int) (cost, error)
}

// cost is the cost of one operation.
type cost struct {
	each  time.Duration
	bytes uint64 // that are allocated
	note  string // a remark for the table
}

// growth prints the costs of all operations of growths.go for each size. What counts is how a
// cost grows: an operation on one of n that takes ten times as long when n is ten times as
// large visits all n.
func (s *scale) growth() error {
	t := measure.NewTable("what", "n", "each", "growth", "allocated each", "")
	for _, g := range growths {
		if err := s.grow(t, g); err != nil {
			return fmt.Errorf("%s: %w", g.what, err)
		}
	}
	t.Print(s.out)
	return nil
}

// grow adds the rows of one operation. Sizes that would take too long are left out.
func (s *scale) grow(t *measure.Table, g growing) error {
	var before cost
	var took []time.Duration
	for i, n := range g.sizes {
		if s.most > 0 && n > s.most {
			return nil
		}
		if forecast := g.forecast(took); forecast > s.patience {
			t.Row(g.what, strconv.Itoa(n), "–", "", "", fmt.Sprintf("left out: would take about %v", forecast.Round(time.Second)))
			return nil
		}
		began := time.Now()
		c, err := g.run(n)
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		factor := ""
		if i > 0 {
			factor = fmt.Sprintf("× %.1f", float64(c.each)/float64(max(1, before.each)))
		}
		t.Row(g.what, strconv.Itoa(n), rounded(c.each), factor, size(c.bytes), c.note)
		before = c
	}
	return nil
}

// forecast returns how long the next size will take if the time goes on growing as it did
// between the last two sizes. After one size it assumes a time proportional to the size.
func (g *growing) forecast(took []time.Duration) time.Duration {
	i := len(took)
	if i == 0 {
		return 0
	}
	power := 1.0
	if i > 1 {
		grew := float64(took[i-1]) / float64(took[i-2])
		power = math.Log(grew) / math.Log(float64(g.sizes[i-1])/float64(g.sizes[i-2]))
	}
	return time.Duration(float64(took[i-1]) * math.Pow(float64(g.sizes[i])/float64(g.sizes[i-1]), power))
}

// timed returns the cost of each of n operations that do performs.
func timed(n int, do func() error) (cost, error) {
	bytes, began := measure.Allocated(), time.Now()
	err := do()
	took := time.Since(began)
	return cost{each: took / time.Duration(n), bytes: (measure.Allocated() - bytes) / uint64(n)}, err
}

// rounded returns a duration with three digits.
func rounded(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

func size(bytes uint64) string {
	switch {
	case bytes >= 10e6:
		return fmt.Sprintf("%d MB", bytes/1e6)
	case bytes >= 10e3:
		return fmt.Sprintf("%d kB", bytes/1e3)
	default:
		return fmt.Sprintf("%d B", bytes)
	}
}
