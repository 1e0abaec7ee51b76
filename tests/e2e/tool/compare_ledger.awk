# compare_ledger.awk LOG... EXPORT: what clients were told (ledger_load's logs) against what the ledger holds (an export
# as jsonl). Prints a line for each difference, at most 20 of them, then
#     A acknowledged, U of unknown outcome, E entries, D differences
# A key is SOURCE/REQUEST_ID/PART. Entries of sources that the logs never name are not looked at: `only` is a regular
# expression of those that are.
function value(name,   text) {
    if (!match($0, "\"" name "\":\"?[^\",}]*")) return ""
    text = substr($0, RSTART, RLENGTH)
    sub(/^"[a-z_]*":"?/, "", text)
    return text
}
function amount(meter,   text) {
    if (!match($0, "\"meter\":\"" meter "\",\"amount\":[0-9]+")) return "none"
    text = substr($0, RSTART, RLENGTH)
    sub(/.*:/, "", text)
    return text
}
function differs(text) {
    if (++differences <= 20) print text
}
$1 == "sent" { sent[$2] = $3 " " $4 " " $5; next }
$1 == "acked" {
    if (($2 in acked) && acked[$2] != $3) differs("answered as two entries: " $2 ": " acked[$2] " and " $3)
    acked[$2] = $3
    next
}
/^{/ {
    key = value("source") "/" value("request_id") "/" value("part_sequence")
    number = value("sequence")
    entries++
    if (number != last + 1) differs("after entry " last + 0 " comes " number)
    last = number
    if (only != "" && value("source") !~ only) next
    if (key in entry) differs("twice: " key ": entries " entry[key] " and " number)
    entry[key] = number
    if (!(key in sent)) differs("nobody sent: " key ": entry " number)
    else if (sent[key] != value("tenant") " " amount("input_tokens") " " amount("output_tokens"))
        differs("other content: " key ": sent " sent[key] "; entry " number ": " $0)
}
END {
    for (key in acked) {
        told++
        if (!(key in entry)) differs("lost: " key ", acknowledged as entry " acked[key])
        else if (entry[key] != acked[key]) differs("moved: " key ": acknowledged as " acked[key] ", is " entry[key])
    }
    for (key in sent) unknown += !(key in acked)
    printf "%d acknowledged, %d of unknown outcome, %d entries, %d differences\n", told, unknown, entries, differences
}
