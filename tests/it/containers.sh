# In a user, network and mount namespace of its own: two bridges with a container each, and a
# neighbour on a network without a bridge. Prints what each of them is answered.
set -eu
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
ip link set lo up

"$MODELD" serve --containers --socket "$DIR/c.sock" --models-path "$DIR/models" >"$DIR/log" 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
tries=0
until "$MODELD" --host "unix://$DIR/c.sock" status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { cat "$DIR/log"; exit 1; }
    sleep 0.05
done

# peer NAME DEVICE ADDRESS: a namespace behind DEVICE, which has ADDRESS.1.
peer() {
    ip netns add "$1"
    ip link add "to-$1" type veth peer name eth0 netns "$1"
    if [ "$2" = "to-$1" ]; then
        ip addr add "$3.1/16" dev "$2"
    else
        ip link add "$2" type bridge
        ip addr add "$3.1/16" dev "$2"
        ip link set "$2" up
        ip link set "to-$1" master "$2"
    fi
    ip link set "to-$1" up
    ip -n "$1" addr add "$3.5/16" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "$3.1"
}

# The daemon listens already: Docker makes its bridge when it likes.
peer first docker0 172.17.0
peer second br-compose 172.18.0
peer neighbour to-neighbour 172.19.0

# ask NAME METHOD PATH [HOST]: the status, 000 for a connection that is closed.
ask() {
    status=$(ip netns exec "$1" curl -s --noproxy '*' --max-time 10 -o /dev/null -w '%{http_code}' \
        -X "$2" -H "Host: ${4:-172.17.0.1:12434}" -H 'Content-Type: application/json' \
        -d '{"model":"none","messages":[{"role":"user","content":"hi"}]}' \
        "http://172.17.0.1:12434$3") || true
    echo "$1 $2 $3 ${4:-} $status"
}
for name in first second; do
    ask "$name" GET /models
    ask "$name" GET /engines/v1/models model-runner.docker.internal
    ask "$name" POST /engines/v1/chat/completions host.docker.internal:12434
    ask "$name" POST /models/create
    ask "$name" DELETE /models/none
    ask "$name" GET /models evil.example
done
ask neighbour GET /models
