package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
)

// upstream is the vendor that requests are sent on to.
type upstream struct {
	url *url.URL
	key string
}

// parseUpstream takes http[s]://HOST[:PORT][/PREFIX]; nil for anything else.
func parseUpstream(text string) *url.URL {
	to, err := url.Parse(text)
	if err != nil || (to.Scheme != "http" && to.Scheme != "https") || to.Hostname() == "" || to.User != nil ||
		to.RawQuery != "" || to.Fragment != "" {
		return nil
	}
	return to
}

// post sends a body to the path and the query of r. The client's going ends it (r.Context). A redirect is an answer, not
// followed with the vendor's key.
func (u *upstream) post(r *http.Request, body object) (*http.Response, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	to := u.url.JoinPath(r.URL.EscapedPath()) // never by joining texts: no request line chooses the host
	to.RawQuery = r.URL.RawQuery
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to.String(), bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("anthropic-version", "2023-06-01")
	request.Header.Set("authorization", "Bearer "+u.key)
	request.Header.Set("x-api-key", u.key)
	return http.DefaultTransport.RoundTrip(request)
}

// notReached says whether an error of post means that the vendor has seen nothing of the request.
func notReached(err error) bool {
	var connection *net.OpError
	var untrusted *tls.CertificateVerificationError
	return (errors.As(err, &connection) && connection.Op == "dial") || errors.As(err, &untrusted)
}
