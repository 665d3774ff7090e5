# In a mount namespace of its own: a real service manager of one user, for which modeld is
# installed, started by a connection, opened to TCP and taken away again. Prints what is to be seen.
set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "/run/user/$(id -u)"
chmod 700 "/run/user/$(id -u)"
XDG_RUNTIME_DIR=/run/user/$(id -u)
export XDG_RUNTIME_DIR SYSTEMD_LOG_TARGET=console
"$SYSTEMD" --user --unit=basic.target >"$DIR/manager.log" 2>&1 &
manager=$!
trap 'kill $manager; wait $manager || true' EXIT
tries=0
until systemctl --user is-active -q basic.target 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { cat "$DIR/manager.log"; exit 1; }
    sleep 0.05
done

units=$HOME/.config/systemd/user
# What differs from run to run is left out.
show() {
    sed -e "s|$MODELD|MODELD|g; s|$HOME|HOME|g; s|$DIR|DIR|g; s|$XDG_RUNTIME_DIR|RUN|g; s|pid [0-9]*|pid N|; s|127.0.0.1:$PORT|ADDRESS|g" \
        -e '/^Lingering/d'
}
state() {
    for unit in modeld.socket modeld.service; do
        enabled=disabled
        if systemctl --user is-enabled -q $unit 2>/dev/null; then enabled=enabled; fi
        echo "$unit $enabled $(systemctl --user is-active $unit 2>&1)"
    done
}

echo "== install"
"$MODELD" service install 2>&1 | show
state
ls "$units" "$units"/*.wants | show
grep '^ExecStart=' "$units/modeld.service" | show
echo "== again"
"$MODELD" service install 2>/dev/null | show
echo "== idle"
"$MODELD" service status | show
"$MODELD" doctor --offline --json | grep -A1 -c 'the first connection starts it' || true
state
echo "== a connection starts it"
curl -sS --max-time 30 --unix-socket "$XDG_RUNTIME_DIR/modeld/modeld.sock" http://localhost/version
echo
state
"$MODELD" service status | show
echo "== tcp"
"$MODELD" tcp enable --port "$PORT" 2>/dev/null | show
curl -sS --noproxy '*' -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$PORT/models"
echo "== tcp from the service manager"
systemctl --user stop modeld.service
systemctl --user start modeld-tcp.socket
curl -sS --noproxy '*' --max-time 30 -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$PORT/models"
"$MODELD" tcp status 2>/dev/null | show
"$MODELD" tcp disable 2>&1 | show
curl -sS --noproxy '*' "http://127.0.0.1:$PORT/models" 2>/dev/null || echo "nobody there: $?"
"$MODELD" tcp enable --port "$PORT" >/dev/null 2>&1
echo "== a restart loses nothing"
systemctl --user restart modeld.service
curl -sS --max-time 30 --unix-socket "$XDG_RUNTIME_DIR/modeld/modeld.sock" http://localhost/health
echo
echo "== a changed unit is kept"
cp "$units/modeld.service" "$DIR/kept"
echo '# mine' >>"$units/modeld.service"
"$MODELD" service install 2>&1 | show | grep -c 'was left alone'
cp "$DIR/kept" "$units/modeld.service"
echo "== uninstall"
"$MODELD" service uninstall 2>/dev/null | show
state
ls -A "$units" | show
ls -d "$XDG_RUNTIME_DIR/modeld" 2>/dev/null || echo "no directory of the socket"
"$MODELD" service uninstall 2>/dev/null | show
ls "$HOME/.config/modeld"
echo "== where the settings say"
"$MODELD" config set socket="$DIR/own.sock" tcp="127.0.0.1:$PORT" 2>/dev/null | show
"$MODELD" service install 2>&1 | show
curl -sS --max-time 30 --unix-socket "$DIR/own.sock" http://localhost/health
echo
curl -sS --noproxy '*' -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$PORT/models"
"$MODELD" list >/dev/null && echo "found"
systemctl --user stop modeld-tcp.socket modeld.socket modeld.service
echo "keep-alvie = 5" >"$DIR/other.toml"
chmod 600 "$DIR/other.toml"
echo "== a file that cannot be used"
"$MODELD" --config "$DIR/other.toml" service install 2>&1 | show
echo "socket = 'other.sock'" >"$DIR/other.toml"
echo "== another file"
"$MODELD" --config "$DIR/other.toml" service install 2>&1 | show
grep '^Environment="' "$units/modeld.service" | show
curl -sS --max-time 30 --unix-socket "$DIR/other.sock" http://localhost/health
echo
"$MODELD" service uninstall 2>/dev/null | show
