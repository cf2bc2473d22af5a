package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
)

// settings are the fields of a context of the nats command, which is the file
// $XDG_CONFIG_HOME/nats/context/NAME.json. Fields about JetStream are ignored.
type settings struct {
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Token       string `json:"token"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	UserJWT     string `json:"user_jwt"`
	UserSeed    string `json:"user_seed"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	CA          string `json:"ca"`
	InboxPrefix string `json:"inbox_prefix"`
	TLSFirst    bool   `json:"tls_first"`

	// A context with one of these fields is refused, because a connection that ignores them would be a
	// different one.
	NSC          string `json:"nsc"`
	SocksProxy   string `json:"socks_proxy"`
	WindowsStore string `json:"windows_cert_store"`
}

// readContext reads the context with the name, or the selected context if the name is empty. If no context
// is selected either, it returns empty settings.
func readContext(name string, getenv func(string) string) (s settings, err error) {
	dir := getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil && name == "" {
			return s, nil // without a home directory there is no selected context
		} else if err != nil {
			return s, fmt.Errorf("context %q: %w", name, err)
		}
		dir = filepath.Join(home, ".config")
	}
	dir = filepath.Join(dir, "nats")
	if name == "" {
		selected, err := os.ReadFile(filepath.Join(dir, "context.txt"))
		if errors.Is(err, fs.ErrNotExist) {
			return s, nil
		} else if err != nil {
			return s, fmt.Errorf("the selected context: %w", err)
		}
		if name = strings.TrimSpace(string(selected)); name == "" {
			return s, nil
		}
	}
	if strings.Contains(name, "..") || strings.ContainsAny(name, `/\`) {
		return s, misused("context %q: a name has no .., / or \\", name)
	}
	body, err := os.ReadFile(filepath.Join(dir, "context", name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, misused("there is no context %q in %s", name, filepath.Join(dir, "context"))
	} else if err != nil {
		return s, fmt.Errorf("context %q: %w", name, err)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("context %q: %w", name, err)
	}
	if err := s.expand(); err != nil {
		return s, fmt.Errorf("context %q: %w", name, err)
	}
	return s, nil
}

// expand replaces ~ and environment variables in paths. It returns an error if the settings have something
// that this command does not support.
func (s *settings) expand() error {
	for field, value := range map[string]string{"nsc": s.NSC, "socks_proxy": s.SocksProxy, "windows_cert_store": s.WindowsStore} {
		if value != "" {
			return fmt.Errorf("%s is not supported", field)
		}
	}
	for field, value := range map[string]*string{
		"creds": &s.Creds, "nkey": &s.NKey, "cert": &s.Cert, "key": &s.Key, "ca": &s.CA,
		"password": &s.Password, "token": &s.Token, "user_jwt": &s.UserJWT, "user_seed": &s.UserSeed,
	} {
		for _, scheme := range []string{"op://", "nsc://", "env://", "data:"} {
			if strings.HasPrefix(*value, scheme) {
				return fmt.Errorf("%s: %s… is not supported, only a path is", field, scheme)
			}
		}
	}
	for _, path := range []*string{&s.Creds, &s.NKey, &s.Cert, &s.Key, &s.CA} {
		*path = os.ExpandEnv(strings.TrimPrefix(*path, "file://"))
		if rest, ok := strings.CutPrefix(*path, "~"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				return err
			}
			*path = home + rest
		}
	}
	return nil
}

// options returns the options of nats.Connect.
func (s *settings) options() (opts []nats.Option, err error) {
	switch {
	case s.User != "":
		opts = append(opts, nats.UserInfo(s.User, s.Password))
	case s.Creds != "":
		opts = append(opts, nats.UserCredentials(s.Creds))
	case s.NKey != "":
		o, err := nats.NkeyOptionFromSeed(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		opts = append(opts, o)
	case s.UserJWT != "" && s.UserSeed != "":
		opts = append(opts, nats.UserJWTAndSeed(s.UserJWT, s.UserSeed))
	case s.UserJWT != "":
		opts = append(opts, nats.UserJWT(
			func() (string, error) { return s.UserJWT, nil }, func([]byte) ([]byte, error) { return nil, nil }))
	}
	if s.Token != "" {
		opts = append(opts, nats.Token(s.Token))
	}
	if (s.Cert == "") != (s.Key == "") {
		return nil, misused("a certificate needs its key, and a key its certificate")
	}
	if s.Cert != "" {
		opts = append(opts, nats.ClientCert(s.Cert, s.Key))
	}
	if s.CA != "" {
		opts = append(opts, nats.RootCAs(s.CA))
	}
	if s.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(s.InboxPrefix))
	}
	if s.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return opts, nil
}

// redacted returns the URLs, with xxxxx in place of users, passwords and tokens.
func redacted(urls string) string {
	all := strings.Split(urls, ",")
	for i, one := range all {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil && u.User != nil {
			u.User = url.User("xxxxx")
			all[i] = u.String()
		}
	}
	return strings.Join(all, ",")
}
