//go:build !unix

package measure

import "time"

// CPU returns 0: this system does not report it in a way that the programs know.
func CPU() time.Duration { return 0 }
