# In a user, network and mount namespace of its own: the daemon on an address that other machines
# reach, and clients that come to it. Prints what each of them is answered.
set -eu
mount -t tmpfs tmpfs /run
ip link set lo up
ip addr add 192.0.2.1/32 dev lo

user=$("$MODELD" token create --name user 2>/dev/null)
admin=$("$MODELD" token create --name admin --scope admin 2>/dev/null)
"$MODELD" serve --tcp 192.0.2.1:12434 --socket "$DIR/c.sock" --models-path "$DIR/models" \
    >"$DIR/log" 2>&1 &
daemon=$!
shim=
trap 'kill $daemon $shim; wait $daemon $shim || true' EXIT
tries=0
until "$MODELD" --host "unix://$DIR/c.sock" status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { cat "$DIR/log"; exit 1; }
    sleep 0.05
done

port=12434
# ask WHO TOKEN METHOD PATH [HEADER]: the status.
ask() {
    status=$(curl -s --noproxy '*' --max-time 10 -o /dev/null -w '%{http_code}' -X "$3" \
        -H "Authorization: Bearer $2" -H "${5:-X-None: none}" -H 'Content-Type: application/json' \
        -d '{"model":"none","messages":[{"role":"user","content":"hi"}]}' \
        "http://192.0.2.1:$port$4") || true
    echo "$1 $3 $4 ${5:-}: $status"
}
everything() {
    ask "$1" "$2" GET /
    ask "$1" "$2" GET /health
    ask "$1" "$2" GET /models
    ask "$1" "$2" POST /v1/chat/completions
    ask "$1" "$2" DELETE /models/none
    ask "$1" "$2" GET /no-such
}
everything nobody unused
everything user "$user"
everything admin "$admin"
"$MODELD" activate --socket "$DIR/other/d.sock" --tcp 192.0.2.1:12435 -- \
    "$MODELD" serve --models-path "$DIR/other/models" >"$DIR/activate.log" 2>&1 &
shim=$!
tries=0
until grep -q 'waiting.*192.0.2.1:12435' "$DIR/activate.log"; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { cat "$DIR/activate.log"; exit 1; }
    sleep 0.05
done
port=12435
ask activated unused GET /models
ask activated "$user" GET /models
port=12434
ask admin "$admin" GET /models 'Host: models.example:443'
ask admin "$admin" GET /models 'Origin: https://evil.example'
"$MODELD" token revoke admin >/dev/null
ask revoked "$admin" GET /models
rm "$HOME/.config/modeld/tokens.json"
ask forgotten "$user" GET /models
