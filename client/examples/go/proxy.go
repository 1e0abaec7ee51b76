package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	pb "example.com/proxy/quotapb"
)

const eventMax = 4 << 20

type proxy struct {
	quota       *quota
	upstream    upstream
	keys        map[string]string
	extendEvery time.Duration
	reports     sync.WaitGroup
}

// exchange is a request that quotad has allowed, and what became of it.
type exchange struct {
	hold    *hold
	answer  answer
	began   bool       // the upstream serves it
	outcome pb.Outcome // unspecified until it is known
}

func (x *exchange) used() usage {
	if !x.began {
		return usage{}
	}
	return x.answer.used(x.hold.inputTokens)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tenant, known := p.keys[keyOf(r)]
	if !known {
		(&refusal{status: http.StatusUnauthorized, message: "unknown API key"}).write(w)
		return
	}
	asked, no := readRequest(r)
	if no != nil {
		no.write(w)
		return
	}
	// An id of our own: a client that chose it could repeat one, and be served twice for one reservation.
	h := &hold{tenant: tenant, model: asked.model, requestID: rand.Text(), inputTokens: asked.inputTokens}
	if no := p.quota.check(h, asked.maxOutput); no != nil {
		no.write(w)
		return
	}
	x := &exchange{hold: h}
	defer p.report(r, x) // also when this program panics
	w.Header().Set("x-request-id", h.requestID)
	p.forward(w, r, asked.body, x)
}

func (p *proxy) report(r *http.Request, x *exchange) {
	switch {
	case x.outcome != pb.Outcome_OUTCOME_UNSPECIFIED:
	case r.Context().Err() != nil: // the client went
		x.outcome = pb.Outcome_OUTCOME_DISCONNECTED
		x.began = true // the vendor had the input, at least
	default:
		x.outcome = pb.Outcome_OUTCOME_FAILED
	}
	// The client's answer ends without it.
	p.reports.Go(func() { p.quota.report(x.hold, x.outcome, x.used(), x.answer.tier) })
}

func (p *proxy) forward(w http.ResponseWriter, r *http.Request, body object, x *exchange) {
	if r.Context().Err() != nil { // the client went while quotad was asked
		x.outcome = pb.Outcome_OUTCOME_NOT_DISPATCHED
		return
	}
	response, err := p.upstream.post(r, body)
	if err != nil {
		slog.Warn("upstream", "request", x.hold.requestID, "error", err)
		if notReached(err) {
			x.outcome = pb.Outcome_OUTCOME_NOT_DISPATCHED
		}
		badGateway("the upstream failed").write(w)
		return
	}
	defer response.Body.Close() // in the middle of an answer: it need not go on
	x.began = response.StatusCode == http.StatusOK
	if x.began && strings.HasPrefix(response.Header.Get("content-type"), "text/event-stream") {
		p.copyStream(w, response, x)
	} else {
		copyWhole(w, response, x)
	}
}

func copyWhole(w http.ResponseWriter, response *http.Response, x *exchange) {
	body, err := io.ReadAll(response.Body)
	switch {
	case !x.began:
		x.outcome = pb.Outcome_OUTCOME_FAILED
	case err == nil:
		x.answer.takeJSON(body)
		x.outcome = pb.Outcome_OUTCOME_OK
	}
	if err != nil {
		badGateway("the upstream broke off").write(w)
		return
	}
	w.Header().Set("content-type", response.Header.Get("content-type"))
	w.WriteHeader(response.StatusCode)
	w.Write(body)
}

func (p *proxy) copyStream(w http.ResponseWriter, response *http.Response, x *exchange) {
	w.Header().Set("content-type", "text/event-stream")
	out := http.NewResponseController(w)
	fail := func(kind, message string) {
		fmt.Fprintf(w, "event: error\ndata: %s\n\n", errorBody(kind, message))
	}
	extendAt := time.Now().Add(p.extendEvery)
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, eventMax)
	for lines.Scan() {
		x.answer.takeLine(lines.Bytes())
		fmt.Fprintf(w, "%s\n", lines.Bytes()) // where the client went, the lines end with r's context
		if len(lines.Bytes()) > 0 {
			continue
		}
		out.Flush()
		if time.Now().After(extendAt) {
			extendAt = time.Now().Add(p.extendEvery)
			if stop, why := p.quota.extend(x.hold, x.used()); stop {
				x.outcome = pb.Outcome_OUTCOME_OK
				fail("quota_exceeded", why)
				return
			}
		}
	}
	if x.answer.done && !x.answer.failed {
		x.outcome = pb.Outcome_OUTCOME_OK
		return
	}
	slog.Warn("the upstream broke off", "request", x.hold.requestID, "error", lines.Err())
	fail("upstream_failed", "the upstream broke off")
}
