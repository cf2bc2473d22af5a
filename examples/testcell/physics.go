package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// What a die is like depends on nothing but which one it is. So every run of the
// program tests the same dies, whoever is asked in which order.

func (d Die) contactTakes() time.Duration {
	return 60*time.Millisecond + time.Duration(chance(d, "touch")*float64(150*time.Millisecond))
}

func (d Die) shorted() bool { return chance(d, "short") < 0.04 }

func (d Die) leakage() Amperes { return Amperes(12e-9 * chance(d, "leakage")) }

func (d Die) ripple(sample int) Volts { return Volts(0.051 * chance(d, fmt.Sprint("ripple", sample))) }

// chance gives a number in [0, 1) that depends on what it is given alone.
func chance(of ...any) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, of...)
	return rand.New(rand.NewPCG(h.Sum64(), 1)).Float64()
}
