//go:build !race

package course

const raced = false
