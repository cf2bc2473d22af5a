package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// The properties of a die depend only on its number. So every run of the program tests the same
// dies, in whatever order the sites answer.

func (d Die) contactTakes() time.Duration {
	return 60*time.Millisecond + time.Duration(chance(d, "touch")*float64(150*time.Millisecond))
}

func (d Die) shorted() bool { return chance(d, "short") < 0.04 }

func (d Die) leakage() Amperes { return Amperes(12e-9 * chance(d, "leakage")) }

func (d Die) ripple(sample int) Volts { return Volts(0.051 * chance(d, fmt.Sprint("ripple", sample))) }

// chance returns a number in [0, 1) that depends only on its arguments.
func chance(of ...any) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, of...)
	return rand.New(rand.NewPCG(h.Sum64(), 1)).Float64()
}
