package main

import (
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The parts of the cell know only these topics: a caller does not know which producers answer,
// or how many.
var (
	// loadWafer puts a wafer under the probe card.
	loadWafer = dispatch.NewTopic[Wafer, WaferMap]("handler.load", dispatch.WithTimeout(10*time.Second))
	// testDies lowers the probe card: each site has a die under its needles, and tests it.
	testDies = dispatch.NewTopic[Touchdown, Verdict]("cell.test", dispatch.WithTimeout(2*time.Second))

	// forceVoltage powers a die.
	forceVoltage = dispatch.NewTopic[Die, Volts]("instrument.supply")
	// measureLeakage has three equivalent meters. If a meter takes long to settle, the call
	// also asks the next meter.
	measureLeakage = dispatch.NewTopic[Die, Amperes]("instrument.leakage", dispatch.WithHedge(150*time.Millisecond))
	// captureRipple records the supply of a die, piece by piece.
	captureRipple = dispatch.NewTopic[Die, Volts]("instrument.ripple")
)

// Wafer is a slice of silicon with some hundred dies on it. It belongs to a lot: wafers
// that were made together.
type Wafer struct{ Lot, Number int }

// WaferMap says how many touchdowns a wafer needs.
type WaferMap struct{ Touchdowns int }

// Touchdown is one contact between probe card and wafer, counted from 1.
type Touchdown struct {
	Wafer  Wafer
	Number int
}

// String returns the lot, the wafer and the touchdown, in the notation of a test floor.
func (t Touchdown) String() string {
	return fmt.Sprintf("L%03d/W%02d/T%02d", t.Wafer.Lot, t.Wafer.Number, t.Number)
}

// Die is a part of a wafer that becomes one chip. At each touchdown a site has one die.
type Die struct {
	At   Touchdown
	Site int
}

// String returns the place of the die: its touchdown and its site.
func (d Die) String() string { return fmt.Sprintf("%v/S%d", d.At, d.Site) }

// Volts and Amperes are the results of instruments.
type (
	Volts   float64
	Amperes float64
)

// Verdict is the result of the test of a die.
type Verdict struct {
	Die Die
	Bin Bin
}

// Bin is where a die goes after the test. The numbers are those of the test floor.
type Bin int

// The bins.
const (
	BinPass    Bin = 1
	BinShort   Bin = 2 // it draws more current than the supply gives
	BinLeakage Bin = 3 // it draws current when it should not
	BinRipple  Bin = 5 // its supply is not steady
)

// String returns the bin's word.
func (b Bin) String() string {
	switch b {
	case BinPass:
		return "pass"
	case BinShort:
		return "short"
	case BinLeakage:
		return "leakage"
	case BinRipple:
		return "ripple"
	}
	return fmt.Sprintf("bin %d", int(b))
}
