package dispatchdebug

import (
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Figures are formatted by two programs, here and in assets/page.js. A page that was served and
// one that was updated must have the same texts, and a browser test compares them. So the
// arithmetic uses integers: the rounding of other numbers depends on the language.

// duration returns d with three digits, in the unit that is easiest to read.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "–"
	case d == 0:
		return "0"
	case d < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + " ns"
	case d < 999_500*time.Nanosecond:
		return digits(d, time.Microsecond, "µs")
	case d < 999_500*time.Microsecond:
		return digits(d, time.Millisecond, "ms")
	case d < 59_950*time.Millisecond:
		return digits(d, time.Second, "s")
	}
	s := int64(d / time.Second)
	if d%time.Second >= time.Second/2 {
		s++
	}
	switch {
	case s < 3600:
		return pair(s/60, "min", s%60, "s")
	case s < 86400:
		return pair(s/3600, "h", s%3600/60, "min")
	default:
		return pair(s/86400, "d", s%86400/3600, "h")
	}
}

// digits returns d in the unit, as 1.23, 12.3 or 123.
func digits(d, unit time.Duration, name string) string {
	in := func(parts time.Duration) int64 { return int64((d*parts + unit/2) / unit) }
	switch {
	case in(100) < 1000:
		return fraction(in(100), 100) + " " + name
	case in(10) < 1000:
		return fraction(in(10), 10) + " " + name
	}
	return strconv.FormatInt(in(1), 10) + " " + name
}

// fraction returns n/of as a decimal fraction, without zeros at its end.
func fraction(n, of int64) string {
	s := strconv.FormatInt(n/of, 10)
	rest := strconv.FormatInt(n%of+of, 10)[1:]
	if rest = strings.TrimRight(rest, "0"); rest != "" {
		s += "." + rest
	}
	return s
}

func pair(n int64, unit string, m int64, small string) string {
	s := strconv.FormatInt(n, 10) + " " + unit
	if m > 0 {
		s += " " + strconv.FormatInt(m, 10) + " " + small
	}
	return s
}

// count returns n with its thousands set apart.
func count[T int | int64 | uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// share returns a part of one in percent. A negative part is not known.
func share(v float64) string {
	tenths := int64(math.Floor(v*1000 + 0.5))
	switch {
	case v < 0:
		return "–"
	case v == 0:
		return "0"
	case tenths < 1:
		return "< 0.1 %"
	case tenths < 100:
		return fraction(tenths, 10) + " %"
	default:
		return strconv.FormatInt((tenths+5)/10, 10) + " %"
	}
}

// percent returns a part of one as a coordinate of a drawing.
func percent(v float64) string { return strconv.FormatFloat(v*100, 'f', 4, 64) + "%" }

// scaled returns a time as a coordinate of a drawing that is as wide as scale.
func scaled(d, scale time.Duration) string {
	if scale <= 0 {
		return percent(0)
	}
	return percent(float64(d) / float64(scale))
}

// clock returns the time of day.
func clock(t time.Time) string { return t.Format("15:04:05") }

var packagePath = regexp.MustCompile(`[^\s\[\](){}*,]+/`)

// shortType leaves out the directories of the packages in the name of a type.
func shortType(s string) string { return packagePath.ReplaceAllString(s, "") }

// shortPlace returns the end of the path of a source file.
func shortPlace(s string) string {
	if i := strings.LastIndexByte(s, '/'); i > 0 {
		return s[strings.LastIndexByte(s[:i], '/')+1:]
	}
	return s
}

// link returns the address of the page of a topic or a call.
func link(parameter, value string) string { return "?" + parameter + "=" + url.QueryEscape(value) }
