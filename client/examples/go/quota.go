package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	pb "example.com/proxy/quotapb"
)

const (
	reportTimeout = 30 * time.Second // a report is worth waiting for
	backAfter     = 2 * time.Second  // after so long at most a node that is back is asked again
	// Reports are idempotent, so gRPC may repeat them.
	serviceConfig = `{"methodConfig": [{
		"name": [{"service": "quota.v1.QuotaService", "method": "ReportUsage"}],
		"retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}`
)

var reconnect = grpc.ConnectParams{MinConnectTimeout: backAfter,
	Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: backAfter}}

// quota asks quotad around a request: check before it, extend while it streams, report after it.
type quota struct {
	service      pb.QuotaServiceClient
	failOpen     bool
	checkTimeout time.Duration // a check answers in about 1 ms: who waits long waits for a node that is away
}

// hold is a request that may run. No token: quotad was away, and its usage is reported without a reservation.
type hold struct {
	tenant, model, requestID, token string
	inputTokens                     int64
}

// tlsFiles are PEM files: who vouches for the node ("": plaintext), and what this client is known by ("": nothing).
type tlsFiles struct{ ca, cert, key string }

func (f tlsFiles) credentials() (credentials.TransportCredentials, error) {
	if f.ca == "" {
		return insecure.NewCredentials(), nil
	}
	authorities := x509.NewCertPool()
	text, err := os.ReadFile(f.ca)
	if err == nil && !authorities.AppendCertsFromPEM(text) {
		err = fmt.Errorf("%s: no certificate in it", f.ca)
	}
	config := &tls.Config{RootCAs: authorities}
	if err == nil && f.cert != "" {
		var own tls.Certificate
		own, err = tls.LoadX509KeyPair(f.cert, f.key)
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), err
}

func newQuota(address string, files tlsFiles, failOpen bool, checkTimeout time.Duration) (*quota, error) {
	secure, err := files.credentials()
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(secure),
		grpc.WithDefaultServiceConfig(serviceConfig), grpc.WithConnectParams(reconnect))
	if err != nil {
		return nil, err
	}
	return &quota{pb.NewQuotaServiceClient(connection), failOpen, checkTimeout}, nil
}

func amounts(meters map[string]int64) (list []*pb.Amount) {
	for meter, amount := range meters {
		list = append(list, &pb.Amount{Meter: meter, Amount: amount})
	}
	return list
}

// check gives h its token, or says what to answer instead. maxOutput: nil where the request sets none.
func (q *quota) check(h *hold, maxOutput *int64) *refusal {
	request := &pb.CheckQuotaRequest{Tenant: h.tenant, Model: h.model, RequestId: h.requestID,
		Estimate: amounts(map[string]int64{"input_tokens": h.inputTokens})}
	if maxOutput != nil {
		request.MaxOutputTokensPresence = &pb.CheckQuotaRequest_MaxOutputTokens{MaxOutputTokens: *maxOutput}
	}
	// Not the client's context: a hold that was made for a client that has gone must be known here, to be given back.
	ctx, cancel := context.WithTimeout(context.Background(), q.checkTimeout)
	defer cancel()
	answer, err := q.service.CheckQuota(ctx, request)
	switch {
	case err != nil:
		return q.unanswered(h, err)
	case answer.Verdict != pb.Verdict_VERDICT_ALLOWED:
		slog.Info("denied", "request", h.requestID, "why", answer.Message)
		return denial(answer)
	}
	h.token = answer.Reservation.GetToken()
	return nil
}

// told is what the tenant's users may read of a denial or a stop: of a limit of money no amounts, which are what it
// costs us.
func told(limit *pb.LimitState, reason pb.Reason, message string) string {
	switch {
	case limit.GetUnit() != "nano_usd":
		return message
	case reason == pb.Reason_REASON_NEVER_FITS:
		return limit.Name + " does not allow a request of this size"
	}
	return limit.Name + " is used up"
}

// unanswered says what becomes of a request that was not checked. Only silence is served unchecked: no request may
// choose that it is not counted.
func (q *quota) unanswered(h *hold, err error) *refusal {
	slog.Warn("check", "request", h.requestID, "error", err)
	switch status.Code(err) {
	case codes.InvalidArgument, codes.ResourceExhausted: // the request's fault: a message that is too large, too
		return badRequest("%s", status.Convert(err).Message())
	case codes.Unavailable, codes.DeadlineExceeded:
		if q.failOpen {
			return nil
		}
	}
	return &refusal{http.StatusServiceUnavailable, "quota cannot be checked at present",
		map[string]string{"retry-after": "1"}}
}

// denial is a denied check as HTTP: 429 for what is used up, 503 for what is quotad's, 403 for the rest.
func denial(answer *pb.CheckQuotaResponse) *refusal {
	no := &refusal{http.StatusForbidden, told(answer.Limit, answer.Reason, answer.Message), map[string]string{}}
	switch answer.Reason {
	case pb.Reason_REASON_LIMIT, pb.Reason_REASON_NEVER_FITS:
		no.status = http.StatusTooManyRequests
	case pb.Reason_REASON_CAPACITY, pb.Reason_REASON_DRAINING, pb.Reason_REASON_UNDECIDED:
		no.status = http.StatusServiceUnavailable
	}
	for _, header := range answer.Headers {
		no.headers[header.Name] = header.Value
	}
	if answer.RetryUseful && answer.RetryAfterNs > 0 {
		no.headers["retry-after"] = fmt.Sprint((answer.RetryAfterNs + 999_999_999) / 1_000_000_000)
	}
	return no
}

// extend says whether to stop, and why. Silence is no reason to stop.
func (q *quota) extend(h *hold, used usage) (stop bool, why string) {
	if h.token == "" {
		return false, ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.checkTimeout)
	defer cancel()
	answer, err := q.service.ExtendReservation(ctx, &pb.ExtendReservationRequest{
		Reservation: h.token, UsedSoFar: amounts(used.meters)})
	if err != nil {
		slog.Warn("extension", "request", h.requestID, "error", err)
		return false, ""
	}
	if answer.Continuation != pb.Continuation_CONTINUATION_STOP {
		return false, ""
	}
	slog.Info("stopped", "request", h.requestID, "why", answer.Message)
	return true, told(answer.Limit, answer.Reason, answer.Message)
}

// report books what was used. What could not be booked is in the log, whole. The client's going ends no report.
func (q *quota) report(h *hold, outcome pb.Outcome, used usage, tier int32) {
	parts := used.parts()
	for i, part := range parts {
		request := &pb.ReportUsageRequest{Reservation: h.token, Tenant: h.tenant, RequestId: h.requestID,
			Sequence: uint32(i), Partial: i+1 < len(parts), Outcome: outcome, Tier: pb.ServiceTier(tier),
			CacheWriteTtl: pb.CacheWriteTtl(part.ttl), Usage: amounts(part.meters)}
		if h.token == "" {
			request.Model = h.model
		}
		ctx, cancel := context.WithTimeout(context.Background(), reportTimeout)
		if _, err := q.service.ReportUsage(ctx, request, grpc.WaitForReady(true)); err != nil {
			slog.Error("not booked", "error", err, "report", protojson.Format(request))
		}
		cancel()
	}
}
