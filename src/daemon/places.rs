use tokio::sync::watch;

use super::listen::Address;
use super::tcp_listeners::TcpListeners;

/// Where the daemon listens at the moment, for the service manager's line about it.
#[derive(Clone)]
pub(super) struct Places {
    unix: Vec<Address>,
    tcp: TcpListeners,
    with_tls: bool,
}

impl Places {
    /// Those over TCP come and go; what else was opened at the start stays.
    pub(super) fn new(opened: &[Address], tcp: TcpListeners, with_tls: bool) -> Self {
        let is_unix = |address: &&Address| matches!(address, Address::Unix(_));
        Self { unix: opened.iter().filter(is_unix).cloned().collect(), tcp, with_tls }
    }

    /// `listening on unix:///…, http://127.0.0.1:12434`
    pub(super) fn text(&self) -> String {
        let open = self.tcp.open();
        let tcp =
            open.iter().map(|place| Address::over_tcp(place.address, place.door, self.with_tls));
        let all = self.unix.iter().cloned().chain(tcp);
        let all: Vec<String> = all.map(|address| address.to_string()).collect();
        format!("listening on {}", all.join(", "))
    }

    /// Tells that the text may be another.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.tcp.moves()
    }
}
