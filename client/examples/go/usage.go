package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"strings"
)

// What the vendors' `usage` objects mean in quotad's meters. The only place that knows; testdata/cases.json tests it.
//
// quotad's token meters never overlap: a token is in exactly one of them. The vendors' counts do overlap, and not alike:
// OpenAI's input contains what was read from and written to the cache, and its output contains the reasoning;
// Anthropic's input contains neither. A count that the vendor does not give stays missing, which is not 0.

type object = map[string]any

// shape says where each count is. whole: input contains cached and written; output always contains reasoning.
type shape struct {
	whole                                                bool
	input, cached, written, written1h, output, reasoning string
}

var (
	chat = shape{ // OpenAI's /v1/chat/completions, and what imitates it
		whole:     true,
		input:     "prompt_tokens",
		cached:    "prompt_tokens_details.cached_tokens",
		written:   "prompt_tokens_details.cache_write_tokens",
		written1h: "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens", // LiteLLM
		output:    "completion_tokens",
		reasoning: "completion_tokens_details.reasoning_tokens",
	}
	responses = shape{ // OpenAI's /v1/responses
		whole:     true,
		input:     "input_tokens",
		cached:    "input_tokens_details.cached_tokens",
		written:   "input_tokens_details.cache_write_tokens",
		output:    "output_tokens",
		reasoning: "output_tokens_details.reasoning_tokens",
	}
	messages = shape{ // Anthropic's /v1/messages
		input:     "input_tokens",
		cached:    "cache_read_input_tokens",
		written:   "cache_creation_input_tokens",
		written1h: "cache_creation.ephemeral_1h_input_tokens",
		output:    "output_tokens",
		reasoning: "output_tokens_details.thinking_tokens", // where it is told apart; else it is output
	}
	tiers = map[string]int32{"batch": 1, "priority": 2, "flex": 3} // quota.v1.ServiceTier; else the standard price
	texts = map[string]bool{"content": true, "reasoning_content": true, "refusal": true, "text": true,
		"thinking": true, "partial_json": true, "arguments": true}
	last = map[string]bool{"message_stop": true, "response.completed": true, "response.incomplete": true}
)

const (
	ttl1h    = 2       // quota.v1.CacheWriteTtl
	countMax = 1 << 53 // the most that quotad takes; no vendor means more
)

// usage is by quotad's meter; cache_write_tokens holds all that was written, written1h what of it was for an hour:
// another price.
type usage struct {
	meters    map[string]int64
	written1h int64
}

func shapeOf(vendor object) shape {
	_, isChat := vendor["prompt_tokens"]
	_, reads := vendor["cache_read_input_tokens"]
	_, writes := vendor["cache_creation_input_tokens"]
	switch {
	case isChat:
		return chat
	case reads || writes:
		return messages
	}
	return responses // without details both vendors' input and output mean the same
}

// pick is the count at a path, and whether it is there.
func pick(vendor object, path string) (int64, bool) {
	var value any = vendor
	for _, key := range strings.Split(path, ".") {
		inner, _ := value.(object)
		value = inner[key]
	}
	number, ok := value.(float64)
	return int64(number), ok && number >= 0 && number <= countMax && number == math.Trunc(number)
}

func metersOf(vendor object) usage {
	at := shapeOf(vendor)
	used := usage{meters: map[string]int64{}}
	for meter, path := range map[string]string{"input_tokens": at.input, "cached_input_tokens": at.cached,
		"cache_write_tokens": at.written, "output_tokens": at.output, "reasoning_tokens": at.reasoning} {
		if amount, ok := pick(vendor, path); ok {
			used.meters[meter] = amount
		}
	}
	m := used.meters
	if input, ok := m["input_tokens"]; ok && at.whole {
		m["input_tokens"] = max(0, input-m["cached_input_tokens"]-m["cache_write_tokens"])
	}
	if output, ok := m["output_tokens"]; ok {
		m["output_tokens"] = max(0, output-m["reasoning_tokens"])
	}
	written1h, _ := pick(vendor, at.written1h)
	used.written1h = min(written1h, m["cache_write_tokens"])
	return used
}

// part is one report of a usage.
type part struct {
	meters map[string]int64
	ttl    int32
}

// parts is two if it wrote to the cache both ways.
func (u usage) parts() []part {
	written := u.meters["cache_write_tokens"]
	if u.written1h == 0 {
		return []part{{u.meters, 0}}
	}
	if u.written1h == written {
		return []part{{u.meters, ttl1h}}
	}
	rest := map[string]int64{}
	for meter, amount := range u.meters {
		rest[meter] = amount
	}
	rest["cache_write_tokens"] = written - u.written1h
	return []part{{map[string]int64{"cache_write_tokens": u.written1h}, ttl1h}, {rest, 0}}
}

// guess is of tokens that nobody has counted: four bytes each, one a piece at least. A tokenizer does better.
func guess(size, pieces int64) int64 { return max(pieces, (size+3)/4) }

func textSize(delta any) (size int64) {
	switch value := delta.(type) {
	case string:
		return int64(len(value))
	case []any:
		for _, one := range value {
			size += textSize(one)
		}
	case object:
		for key, one := range value {
			if _, isText := one.(string); !isText || texts[key] {
				size += textSize(one)
			}
		}
	}
	return size
}

// answer is what is known of an answer while it comes: the last usage object, and the text that came after it.
type answer struct {
	vendor       object // merged: Anthropic gives the input first and the output last
	size, pieces int64  // bytes of text since then, and the deltas that brought them
	done         bool   // its last event came
	failed       bool   // the vendor said so, in the stream
	tier         int32
}

// takeLine takes a line of server-sent events; both vendors' events are JSON in one `data:` line each.
func (a *answer) takeLine(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	data = bytes.TrimSpace(data)
	switch {
	case !ok:
	case string(data) == "[DONE]":
		a.done = true
	default:
		a.takeJSON(data)
	}
}

// takeJSON takes an event of a stream, or a whole body that was not streamed.
func (a *answer) takeJSON(data []byte) {
	var event object
	if err := json.Unmarshal(data, &event); err != nil {
		slog.Warn("no JSON object", "error", err)
		return
	}
	inner, _ := event["response"].(object)
	if message, ok := event["message"].(object); ok {
		inner = message
	}
	kind, _ := event["type"].(string)
	a.failed = a.failed || event["error"] != nil || kind == "error" || kind == "response.failed"
	a.done = a.done || last[kind]
	a.takeText(event)
	vendor, _ := event["usage"].(object)
	if vendor == nil {
		vendor, _ = inner["usage"].(object)
	}
	for _, where := range []object{event, inner, vendor} {
		if name, ok := where["service_tier"].(string); ok && tiers[name] != 0 {
			a.tier = tiers[name]
		}
	}
	a.takeUsage(vendor)
}

func (a *answer) takeText(event object) {
	news := []any{event["delta"], event["content"]}
	choices, _ := event["choices"].([]any)
	for _, choice := range choices {
		one, _ := choice.(object)
		news = append(news, one["delta"], one["message"])
	}
	for _, text := range news {
		if size := textSize(text); size > 0 {
			a.size += size
			a.pieces++
		}
	}
}

func (a *answer) takeUsage(vendor object) {
	if len(vendor) == 0 {
		return
	}
	if a.vendor == nil {
		a.vendor = object{}
	}
	for key, value := range vendor {
		if value != nil {
			a.vendor[key] = value
		}
	}
	if _, counted := metersOf(vendor).meters["output_tokens"]; counted {
		a.size, a.pieces = 0, 0
	}
}

// used is so far. What the vendor has not counted yet is guessed: the input as given here, output by its length.
func (a *answer) used(guessedInput int64) usage {
	used := metersOf(a.vendor)
	m := used.meters
	_, input := m["input_tokens"]
	_, cached := m["cached_input_tokens"]
	_, written := m["cache_write_tokens"]
	if !input && !cached && !written {
		m["input_tokens"] = guessedInput
	}
	if _, known := m["output_tokens"]; a.pieces > 0 || !known {
		m["output_tokens"] += guess(a.size, a.pieces)
	}
	return used
}
