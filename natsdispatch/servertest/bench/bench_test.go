package main

import "testing"

// BenchmarkCall runs each side of the first part alone, for profiles:
//
//	go test -bench Call/by=dispatch -cpuprofile cpu.out ./bench
func BenchmarkCall(b *testing.B) {
	for _, side := range []struct {
		name  string
		build func(*servers) (side, error)
	}{
		{"by=hand/answers=bytes", newBytesByHand},
		{"by=hand/answers=values", newValuesByHand},
		{"by=dispatch/answers=values", newDispatched},
	} {
		b.Run(side.name, func(b *testing.B) {
			s, err := startServers(1)
			defer s.close()
			if err != nil {
				b.Fatal(err)
			}
			built, err := side.build(s)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := built.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
