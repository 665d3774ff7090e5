use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::EgressError;
use super::policy::Permit;

/// Turns names into addresses.
pub trait Lookup: Send + Sync {
    /// All addresses of `name`.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|at| at.ip()).collect())
        })
    }
}

/// A resolver that answers only what its permit allows. What it answers is what is connected to:
/// nobody resolves the name a second time.
pub(super) struct Checked {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) permit: Permit,
}

impl Checked {
    /// The allowed addresses of `name`, at least one.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, EgressError> {
        let unknown = |why: String| {
            EgressError::Unreachable(format!(
                "{name} cannot be resolved ({why}); check the name and the network"
            ))
        };
        let all = self.lookup.lookup(name).await.map_err(|e| unknown(e.to_string()))?;
        let (allowed, refused): (Vec<IpAddr>, Vec<IpAddr>) =
            all.into_iter().partition(|address| self.permit.allows(*address));
        match (allowed.is_empty(), refused.first()) {
            (false, _) => Ok(allowed),
            (true, Some(address)) => Err(self.permit.refusal(name, *address)),
            (true, None) => Err(unknown("it has no address".into())),
        }
    }
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let own = Self { lookup: self.lookup.clone(), permit: self.permit };
        Box::pin(async move {
            // The port is the URL's; 0 says so.
            let addresses = own.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("permit", &self.permit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeLookup;
    use super::*;

    fn checked(permit: Permit, answers: &[&[&str]]) -> Checked {
        let lookup = FakeLookup::default();
        lookup.answer("x.example", answers);
        Checked { lookup: Arc::new(lookup), permit }
    }

    async fn ask(checked: &Checked) -> Result<Vec<String>, EgressError> {
        let addresses = checked.addresses("x.example").await?;
        Ok(addresses.iter().map(IpAddr::to_string).collect())
    }

    #[tokio::test]
    async fn only_allowed_addresses_come_out() {
        let mixed: &[&[&str]] = &[&["127.0.0.1", "1.1.1.1", "64:ff9b::a00:1", "2606:4700::1"]];
        let global = checked(Permit::Global, mixed);
        assert_eq!(ask(&global).await.unwrap(), ["1.1.1.1", "2606:4700::1"]);
        let named = checked(Permit::Named, &[&["127.0.0.1", "169.254.169.254"]]);
        assert_eq!(ask(&named).await.unwrap(), ["127.0.0.1"]);
        let listed = checked(Permit::Listed, &[&["169.254.169.254"]]);
        assert_eq!(ask(&listed).await.unwrap(), ["169.254.169.254"]);
    }

    #[tokio::test]
    async fn a_later_private_answer_is_refused() {
        let checked = checked(Permit::Global, &[&["1.1.1.1"], &["10.0.0.1"]]);
        assert_eq!(ask(&checked).await.unwrap(), ["1.1.1.1"]);
        assert!(matches!(ask(&checked).await, Err(EgressError::Forbidden(_))));
    }

    #[tokio::test]
    async fn no_address_is_no_refusal() {
        let checked = checked(Permit::Global, &[&[]]);
        assert!(matches!(ask(&checked).await, Err(EgressError::Unreachable(_))));
    }
}
