package main

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// refusal is what to answer instead of sending the request.
type refusal struct {
	status  int
	message string
	headers map[string]string
}

func badRequest(format string, values ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, message: fmt.Sprintf(format, values...)}
}

func badGateway(message string) *refusal {
	return &refusal{status: http.StatusBadGateway, message: message}
}

func (no *refusal) write(w http.ResponseWriter) {
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

// errorBody is what clients of both vendors take for an error.
func errorBody(kind, message string) []byte {
	body, _ := json.Marshal(object{"type": "error", "error": object{"type": kind, "message": message}})
	return body
}
