// The digest program prints the digests of files, computed by seven hashes. Each hash is a
// producer, so all hashes work on a file at the same time. The program prints each digest as
// soon as it is computed:
//
//	go run ./examples/digest FILE…
//
// If a file cannot be read, the program prints the name of the file and continues with the
// other files. The exit status is 1 if there was such a file, and 2 if there were no
// arguments.
package main

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// digests is the topic: a request is the path of a file, a result is a digest in hex.
var digests = dispatch.NewTopic[string, string]("file.digest")

var hashes = []struct {
	name string
	make func() hash.Hash
}{
	{"crc32", func() hash.Hash { return crc32.NewIEEE() }},
	{"fnv1a-64", func() hash.Hash { return fnv.New64a() }},
	{"md5", md5.New},
	{"sha1", sha1.New},
	{"sha256", sha256.New},
	{"sha512", sha512.New},
	{"sha3-256", func() hash.Hash { return sha3.New256() }},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("digest", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "usage: digest [-timeout d] FILE…")
		flags.PrintDefaults()
	}
	timeout := flags.Duration("timeout", 10*time.Minute, "the longest `duration` for one file")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() == 0:
		flags.Usage()
		return 2
	}

	d := dispatch.New[string, string]()
	defer d.Close()
	// OnDone is called after the listener has been called with all results of a call. So
	// when done has the report, all digests of the file have been printed.
	done := make(chan dispatch.Report)
	if err := register(d, out, done); err != nil {
		fmt.Fprintln(errs, "digest:", err)
		return 2
	}
	failed := 0
	for i, path := range flags.Args() {
		if ctx.Err() != nil {
			fmt.Fprintf(errs, "digest: interrupted before %s\n", strings.Join(flags.Args()[i:], ", "))
			return 1
		}
		if _, err := d.Send(ctx, digests, path, dispatch.WithTimeout(*timeout)); err != nil {
			fmt.Fprintln(errs, "digest:", err)
			return 2
		}
		if !summarize(out, errs, path, <-done) {
			failed++
		}
	}
	fmt.Fprintf(out, "files: %d done, %d failed\n", flags.NArg()-failed, failed)
	if failed > 0 {
		return 1
	}
	return 0
}

// register adds a producer for each hash, and a listener that prints the digests
// and sends the report of each call to done.
func register(d *dispatch.Dispatcher[string, string], out io.Writer, done chan<- dispatch.Report) error {
	for _, h := range hashes {
		_, err := d.AddProducer(digests, func(ctx context.Context, path string) (string, error) {
			return digest(ctx, h.make(), path)
		}, dispatch.WithName(h.name))
		if err != nil {
			return err
		}
	}
	_, err := d.AddListener(digests, func(_ context.Context, r dispatch.Result[string, string]) {
		fmt.Fprintf(out, "%-9v %s  %s\n", r.From, r.Value, r.Call.Request())
	}, dispatch.OnDone(func(r dispatch.Report) { done <- r }))
	return err
}

// summarize prints the outcome for a file, and reports whether it has all digests. Hashes that
// failed for the same reason are named together.
func summarize(out, errs io.Writer, path string, r dispatch.Report) bool {
	answered := 0
	var reasons []string
	names := make(map[string][]string)
	for _, o := range r.Outcomes {
		if o.State == dispatch.StateOK {
			answered++
			continue
		}
		reason := fmt.Sprintf("%v: %v", o.State, o.Err)
		if names[reason] == nil {
			reasons = append(reasons, reason)
		}
		names[reason] = append(names[reason], o.Member.Name)
	}
	if answered > 0 {
		fmt.Fprintf(out, "%s: %d of %d digests in %v\n", path, answered, len(r.Outcomes), r.Elapsed.Round(10*time.Microsecond))
	}
	for _, reason := range reasons {
		who := strings.Join(names[reason], ", ") + " "
		if len(names[reason]) == len(r.Outcomes) {
			who = ""
		}
		fmt.Fprintf(errs, "digest: %s: %s%s\n", path, who, reason)
	}
	return answered == len(r.Outcomes)
}

// digest hashes the file's contents. It stops early when ctx ends.
func digest(ctx context.Context, h hash.Hash, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reader reads until its context ends.
type reader struct {
	ctx  context.Context
	from io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(p)
}
