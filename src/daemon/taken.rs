//! Who has an address that is wanted.

use std::net::SocketAddr;

use super::door::Door;
use super::tcp_listeners::{Place, Purpose};
use super::wanted::Wanted;
use crate::api::TcpWaiting;
use crate::doctor::port_holder;
use crate::domain::{Error, ErrorKind};

pub(super) fn taken(text: &str) -> Error {
    Error::new(ErrorKind::Conflict, text).with_param("port")
}

/// A listener of ours that is in the way of another. `said`: where it is said what is closed.
pub(super) fn own_place(address: SocketAddr, own: &Place, said: &str) -> String {
    let held = held_by_us(own, said);
    format!("{address} is taken: {held}; nothing was changed: choose another port")
}

fn held_by_us(own: &Place, said: &str) -> String {
    let (at, flag) = (own.address, own.door.flag());
    match (own.purpose, own.door) {
        (Purpose::Parked, _) => {
            let remedy = own.door.remedy(at, said);
            format!(
                "who started the daemon holds {at} ({flag}), which is closed to clients ({remedy})"
            )
        }
        (Purpose::Open, Door::Anybody) => format!("modeld listens on {at} already ({flag})"),
        (Purpose::Open, Door::Public) => {
            format!("modeld listens on {at} already, for whoever has a token ({flag})")
        }
        (Purpose::Open, Door::Ollama) => {
            format!("modeld listens on {at} already, for Ollama's clients ({flag})")
        }
        (Purpose::Open, Door::Containers) => {
            format!("modeld listens on {at} already, for containers ({flag})")
        }
    }
}

/// Says who has the address, where that can be seen.
pub(super) async fn taken_by_another(address: SocketAddr) -> Error {
    let holder = tokio::task::spawn_blocking(move || port_holder(address)).await.ok().flatten();
    let by = holder.map(|holder| format!(" by {holder}")).unwrap_or_default();
    taken(&format!("{address} is taken{by}; nothing was changed: end that, or choose another port"))
}

/// What is to be opened as soon as it can be, and what is in its way now. Looks for whoever that is,
/// which blocks for some milliseconds.
pub(super) fn waiting(wanted: &Wanted, own: &[Place], said: &str) -> TcpWaiting {
    let address = wanted.address();
    let in_the_way = own.iter().find(|place| place.is_in_the_way_of(address));
    let problem = match in_the_way {
        Some(own) => format!("{address} is taken: {}", held_by_us(own, said)),
        None => format!("{address} {}", wanted.problem(address)),
    };
    let (audience, setting) = (wanted.door.audience(), wanted.door.setting().key());
    TcpWaiting { address, audience, setting, origin: wanted.origin.to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_named() {
        let wish = "127.0.0.1:5".parse().unwrap();
        for (at, door, purpose, says) in [
            (
                "0.0.0.0:5",
                Door::Public,
                Purpose::Open,
                "0.0.0.0:5 already, for whoever has a token",
            ),
            ("127.0.0.1:5", Door::Ollama, Purpose::Open, "Ollama's clients (--ollama-port)"),
            ("127.0.0.1:5", Door::Ollama, Purpose::Parked, "take `ollama-port` out of /c.toml"),
            ("127.0.0.1:5", Door::Anybody, Purpose::Parked, "modeld tcp enable --port 5 opens it"),
        ] {
            let place = Place::new(door, at.parse().unwrap(), purpose);
            assert!(place.is_in_the_way_of(wish), "{at}");
            let text = own_place(wish, &place, "/c.toml");
            assert!(text.contains(says) && text.starts_with("127.0.0.1:5 is taken: "), "{text}");
        }
        for at in ["127.0.0.2:5", "127.0.0.1:6", "[::1]:5"] {
            let place = Place::new(Door::Anybody, at.parse().unwrap(), Purpose::Open);
            assert!(!place.is_in_the_way_of(wish), "{at}");
        }
    }
}
