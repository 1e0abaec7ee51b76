// A streaming proxy that asks quotad: for OpenAI's chat completions and responses, and Anthropic's messages.
//
//	proxy -quotad 127.0.0.1:7070 -upstream http://127.0.0.1:8000 -keys keys.json -fail-closed
//
// keys.json says who pays: {"sk-one": "acme/search"}. The upstream's own key is in $UPSTREAM_API_KEY; it may speak TLS
// (https://HOST/PREFIX). The proxy itself listens in plain HTTP, on loopback only: put it behind what ends TLS.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	pb "example.com/proxy/quotapb"
)

const (
	bodyMax  = 8 << 20
	eventMax = 4 << 20
)

// client sends the vendor's key nowhere else: a redirect is an answer.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

type proxy struct {
	quota       *quota
	upstream    *url.URL
	upstreamKey string
	keys        map[string]string
	extendEvery time.Duration
	reports     sync.WaitGroup
}

// errorBody is what clients of both vendors take for an error.
func errorBody(kind, message string) []byte {
	body, _ := json.Marshal(object{"type": "error", "error": object{"type": kind, "message": message}})
	return body
}

func refuse(w http.ResponseWriter, no *refusal) {
	kind := "refused"
	if no.status == http.StatusTooManyRequests {
		kind = "quota_exceeded"
	}
	w.Header().Set("content-type", "application/json")
	for name, value := range no.headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(no.status)
	w.Write(errorBody(kind, no.message))
}

// read is the request's tenant, its body, and the body's size.
func (p *proxy) read(r *http.Request) (string, object, int64, *refusal) {
	key := r.Header.Get("x-api-key")
	if key == "" {
		key = strings.TrimPrefix(r.Header.Get("authorization"), "Bearer ")
	}
	tenant, known := p.keys[key]
	if !known {
		return "", nil, 0, &refusal{status: http.StatusUnauthorized, message: "unknown API key"}
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, bodyMax+1))
	if err != nil || len(raw) > bodyMax {
		return "", nil, 0, &refusal{status: http.StatusRequestEntityTooLarge, message: "the body is too large"}
	}
	body := decode(raw)
	if body == nil {
		return "", nil, 0, badRequest("the body is no JSON object")
	}
	if body["stream"] == true && strings.HasSuffix(r.URL.Path, "/chat/completions") { // else OpenAI says nothing of usage
		options, _ := body["stream_options"].(object)
		if options == nil {
			options = object{}
		}
		options["include_usage"] = true
		body["stream_options"] = options
	}
	return tenant, body, int64(len(raw)), nil
}

func (p *proxy) check(h *hold, body object) (no *refusal) {
	var bound *int64
	if h.model, no = modelOf(body); no != nil {
		return no
	}
	if bound, no = outputBound(body); no != nil {
		return no
	}
	return p.quota.check(h, bound)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tenant, body, size, no := p.read(r)
	if no != nil {
		refuse(w, no)
		return
	}
	// An id of our own: a client that chose it could repeat one, and be served twice for one reservation.
	h := &hold{tenant: tenant, requestID: rand.Text(), inputTokens: guess(size, 0)}
	if no := p.check(h, body); no != nil {
		refuse(w, no)
		return
	}
	w.Header().Set("x-request-id", h.requestID)
	a := &answer{}
	outcome, began := pb.Outcome_OUTCOME_FAILED, false
	defer func() { // also when this program panics
		used := usage{}
		if began {
			used = a.used(h.inputTokens)
		}
		p.reports.Go(func() { p.quota.report(h, outcome, used, a.tier) }) // the client's answer ends without it
	}()
	response, outcomeOfNone := p.send(r, body)
	if response == nil {
		outcome = outcomeOfNone
		refuse(w, &refusal{status: http.StatusBadGateway, message: "the upstream failed"})
		return
	}
	defer response.Body.Close() // in the middle of an answer: it need not go on
	began = response.StatusCode == http.StatusOK
	if began && strings.Contains(response.Header.Get("content-type"), "text/event-stream") {
		outcome = p.copyStream(w, r, response, h, a)
	} else {
		outcome = copyWhole(w, response, a)
	}
}

// send sends the request on. No answer: the outcome of that. The client's going ends it (r.Context).
func (p *proxy) send(r *http.Request, body object) (*http.Response, pb.Outcome) {
	encoded, _ := json.Marshal(body)
	to := *p.upstream // never by joining texts: a strange request line must not choose the host
	to.Path += r.URL.Path
	to.RawQuery = r.URL.RawQuery
	request, err := http.NewRequestWithContext(r.Context(), "POST", to.String(), bytes.NewReader(encoded))
	if err != nil {
		return nil, pb.Outcome_OUTCOME_NOT_DISPATCHED
	}
	for name, value := range map[string]string{"content-type": "application/json", "anthropic-version": "2023-06-01",
		"authorization": "Bearer " + p.upstreamKey, "x-api-key": p.upstreamKey} {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	var dial *net.OpError
	var untrusted *tls.CertificateVerificationError
	switch {
	case err == nil:
		return response, pb.Outcome_OUTCOME_OK
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &untrusted):
		return nil, pb.Outcome_OUTCOME_NOT_DISPATCHED
	case r.Context().Err() != nil:
		return nil, pb.Outcome_OUTCOME_DISCONNECTED
	}
	slog.Warn("upstream", "error", err)
	return nil, pb.Outcome_OUTCOME_FAILED
}

func copyWhole(w http.ResponseWriter, response *http.Response, a *answer) pb.Outcome {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		refuse(w, &refusal{status: http.StatusBadGateway, message: "the upstream broke off"})
		return pb.Outcome_OUTCOME_FAILED
	}
	w.Header().Set("content-type", response.Header.Get("content-type"))
	w.WriteHeader(response.StatusCode)
	_, err = w.Write(body)
	if response.StatusCode != http.StatusOK {
		return pb.Outcome_OUTCOME_FAILED
	}
	a.takeJSON(body)
	if err != nil {
		return pb.Outcome_OUTCOME_DISCONNECTED
	}
	return pb.Outcome_OUTCOME_OK
}

func (p *proxy) copyStream(w http.ResponseWriter, r *http.Request, response *http.Response, h *hold,
	a *answer) pb.Outcome {
	w.Header().Set("content-type", "text/event-stream")
	out := http.NewResponseController(w)
	fail := func(kind, message string) {
		fmt.Fprintf(w, "event: error\ndata: %s\n\n", errorBody(kind, message))
	}
	extendAt := time.Now().Add(p.extendEvery)
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, eventMax)
	for lines.Scan() {
		line := lines.Bytes()
		a.takeLine(line)
		_, err := fmt.Fprintf(w, "%s\n", line)
		if len(line) == 0 && err == nil {
			err = out.Flush()
		}
		if err != nil {
			return pb.Outcome_OUTCOME_DISCONNECTED
		}
		if len(line) == 0 && time.Now().After(extendAt) {
			extendAt = time.Now().Add(p.extendEvery)
			if stop, why := p.quota.extend(h, a.used(h.inputTokens)); stop {
				fail("quota_exceeded", why)
				return pb.Outcome_OUTCOME_OK
			}
		}
	}
	if r.Context().Err() != nil {
		return pb.Outcome_OUTCOME_DISCONNECTED
	}
	if a.done && !a.failed {
		return pb.Outcome_OUTCOME_OK
	}
	slog.Warn("the upstream broke off", "request", h.requestID, "error", lines.Err())
	fail("upstream_failed", "the upstream broke off")
	return pb.Outcome_OUTCOME_FAILED
}

func isUpstream(to *url.URL) bool {
	return (to.Scheme == "http" || to.Scheme == "https") && to.Hostname() != "" && to.User == nil && to.RawQuery == "" &&
		to.Fragment == ""
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen")
	quotad := flag.String("quotad", "127.0.0.1:7070", "the node")
	var files tlsFiles
	flag.StringVar(&files.ca, "quotad-ca", "", "PEM: the node speaks TLS")
	flag.StringVar(&files.cert, "quotad-cert", "", "PEM: and asks for a certificate")
	flag.StringVar(&files.key, "quotad-key", "", "PEM")
	upstream := flag.String("upstream", "", "where requests go: http[s]://HOST[:PORT][/PREFIX]")
	keys := flag.String("keys", "", "JSON file of API keys and their tenants")
	every := flag.Float64("extend-every", 2, "seconds between two extensions")
	checkTimeout := flag.Float64("check-timeout", 0.5, "seconds that a check may take")
	failOpen := flag.Bool("fail-open", false, "serve while quotad is away, report later")
	failClosed := flag.Bool("fail-closed", false, "answer 503 while quotad is away")
	flag.Parse()
	to, err := url.Parse(strings.TrimSuffix(*upstream, "/"))
	if err != nil || !isUpstream(to) || *failOpen == *failClosed {
		log.Fatal("give -upstream http[s]://HOST[:PORT][/PREFIX], and one of -fail-open and -fail-closed")
	}
	q, err := newQuota(*quotad, files, *failOpen, seconds(*checkTimeout))
	if err != nil {
		log.Fatal(err)
	}
	p := &proxy{quota: q, upstream: to, upstreamKey: os.Getenv("UPSTREAM_API_KEY"),
		extendEvery: seconds(*every)}
	text, err := os.ReadFile(*keys)
	if err == nil {
		err = json.Unmarshal(text, &p.keys)
	}
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	server := &http.Server{Handler: p}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go server.Serve(listener)
	<-stop.Done()
	server.Shutdown(context.Background()) // waits for the open answers
	p.reports.Wait()
}
