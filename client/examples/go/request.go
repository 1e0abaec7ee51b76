package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"unicode"
)

const (
	bodyMax    = 8 << 20
	modelMax   = 127 // bytes: what quotad takes for a name
	outputMax  = 1 << 46
	choicesMax = 128 // times outputMax it is the most that quotad counts, 2^53
)

// request is what a client asks for. One that quotad could not count is refused here, before anybody is asked.
type request struct {
	body        object
	model       string
	inputTokens int64  // a guess
	maxOutput   *int64 // nil where it sets none
}

func readRequest(r *http.Request) (*request, *refusal) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, bodyMax+1))
	if err != nil || len(raw) > bodyMax {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, message: "the body is too large"}
	}
	body := decode(raw)
	if body == nil {
		return nil, badRequest("the body is no JSON object")
	}
	model, no := modelOf(body)
	if no != nil {
		return nil, no
	}
	maxOutput, no := outputBound(body)
	if no != nil {
		return nil, no
	}
	if body["stream"] == true && strings.HasSuffix(r.URL.Path, "/chat/completions") {
		askForUsage(body)
	}
	return &request{body, model, guess(int64(len(raw)), 0), maxOutput}, nil
}

// askForUsage is for OpenAI's chat completions, which unasked say nothing of usage in a stream.
func askForUsage(body object) {
	options, _ := body["stream_options"].(object)
	if options == nil {
		options = object{}
	}
	options["include_usage"] = true
	body["stream_options"] = options
}

func keyOf(r *http.Request) string {
	if key := r.Header.Get("x-api-key"); key != "" {
		return key
	}
	return strings.TrimPrefix(r.Header.Get("authorization"), "Bearer ")
}

// modelOf is the model that a request names, or "". encoding/json makes U+FFFD of what is no text.
func modelOf(body object) (string, *refusal) {
	model, isText := body["model"].(string)
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if (body["model"] != nil && !isText) || len(model) > modelMax || strings.ContainsFunc(model, unprintable) {
		return "", badRequest("model: a name of at most %d bytes is accepted", modelMax)
	}
	return model, nil
}

// countOf is a count that a request gives, or nil.
func countOf(body object, name string, most int64) (*int64, *refusal) {
	if body[name] == nil {
		return nil, nil
	}
	number, _ := body[name].(json.Number)
	count, err := number.Int64()
	if err != nil || count < 0 || count > most {
		return nil, badRequest("%s: a whole number from 0 to %d is accepted", name, most)
	}
	return &count, nil
}

// outputBound is the most output that a request allows, whichever field its vendor reads, or nil.
func outputBound(body object) (most *int64, no *refusal) {
	choices, no := countOf(body, "n", choicesMax)
	for _, name := range []string{"max_completion_tokens", "max_output_tokens", "max_tokens"} {
		bound, wrong := countOf(body, name, outputMax)
		if wrong != nil {
			no = wrong
		}
		if bound != nil && (most == nil || *bound > *most) {
			most = bound
		}
	}
	if most != nil && choices != nil {
		*most *= max(1, *choices)
	}
	return most, no
}

// decode keeps numbers as they were written: what is sent on is what the client sent.
func decode(raw []byte) object {
	var body object
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if decoder.Decode(&body) != nil || decoder.Decode(&struct{}{}) != io.EOF {
		return nil
	}
	return body
}
