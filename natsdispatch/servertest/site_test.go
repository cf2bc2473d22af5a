package servertest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// site is a server with one of the configurations in testdata, with the keys and certificates of its users.
type site struct {
	*server.Server
	t     testing.TB
	users map[string]nkeys.KeyPair
	tls   bool
	dir   string // the directory of the certificates
}

// startSite starts a server with a configuration. oldnew has pairs: in the configuration, each old text is
// replaced by the new text that follows it.
func startSite(t testing.TB, config string, oldnew ...string) *site {
	t.Helper()
	s := &site{t: t, users: make(map[string]nkeys.KeyPair), dir: t.TempDir()}
	for _, name := range []string{"CELL_1", "CELL_2", "FLOOR", "GUEST"} {
		pair, err := nkeys.CreateUser()
		s.must(err)
		s.users[name] = pair
		t.Setenv("NKEY_"+name, publicKey(t, pair))
	}
	s.certify()
	t.Setenv("NATS_PORT", "-1") // a free port

	file, err := os.ReadFile(filepath.Join("testdata", config))
	s.must(err)
	text := string(file)
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			t.Fatalf("there is no %q in %s", oldnew[i], config)
		}
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	path := filepath.Join(s.dir, config)
	s.must(os.WriteFile(path, []byte(text), 0o600))
	o, err := server.ProcessConfigFile(path)
	s.must(err)
	s.tls = o.TLSConfig != nil
	s.Server = startServer(t, func(to *server.Options) {
		o.Host, o.NoLog, o.NoSigs = to.Host, to.NoLog, to.NoSigs
		*to = *o
	})
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func publicKey(t testing.TB, pair nkeys.KeyPair) string {
	t.Helper()
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// as connects as a user, with an inbox prefix of that user.
func (s *site) as(user string, opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	return connect(s.t, s.ClientURL(), append(s.options(user), opts...)...)
}

func (s *site) options(user string) []nats.Option {
	s.t.Helper()
	pair := s.users[user]
	opts := []nats.Option{nats.Nkey(publicKey(s.t, pair), pair.Sign)}
	if user == "FLOOR" {
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_FLOOR"))
	}
	if s.tls {
		opts = append(opts, nats.RootCAs(s.file("ca.pem")), nats.ClientCert(s.file("client.pem"), s.file("client-key.pem")))
	}
	return opts
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

// certify writes the certificates of an authority, the server and its clients.
func (s *site) certify() {
	s.t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := s.certificate("ca", authority, authority, nil)
	s.certificate("server", &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, key)
	s.certificate("client", &x509.Certificate{
		SerialNumber: big.NewInt(3), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority, key)
	s.t.Setenv("TLS_CA", s.file("ca.pem"))
	s.t.Setenv("TLS_CERT", s.file("server.pem"))
	s.t.Setenv("TLS_KEY", s.file("server-key.pem"))
}

// certificate writes a certificate and its key. The key of the parent signs the certificate, or its own key
// if it has no parent.
func (s *site) certificate(name string, c, parent *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	if signer == nil {
		signer = key
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	s.must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	s.must(err)
	for file, block := range map[string]*pem.Block{
		name + ".pem":     {Type: "CERTIFICATE", Bytes: der},
		name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		s.must(os.WriteFile(s.file(file), pem.EncodeToMemory(block), 0o600))
	}
	return key
}
