use std::sync::Arc;

use crate::models::Models;

use super::flights::Flights;

/// How much a pull does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullLimits {
    /// Layers of one model.
    pub layers: usize,
    /// Connections for one layer, where more than one makes it faster.
    pub connections: usize,
    /// Layers up to this size, in bytes, always come over one connection.
    pub parallel_above: u64,
    /// Bytes in memory that are not yet written and hashed, for all layers together.
    pub in_flight: usize,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self { layers: 3, connections: 4, parallel_above: 64 << 20, in_flight: 16 << 20 }
    }
}

/// What all pulls of a [`Models`] share.
#[derive(Clone, Default)]
pub(in crate::models) struct Pulls {
    pub(super) limits: PullLimits,
    pub(super) flights: Arc<Flights>,
}

impl Models {
    /// Says how much each pull may do at once.
    #[must_use]
    pub fn with_pull_limits(mut self, limits: PullLimits) -> Self {
        self.pulls.limits = limits;
        self
    }
}
