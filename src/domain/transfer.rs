use super::Digest;

/// What a pull or push tells whoever watches it, besides its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferEvent {
    /// What it is about to move. Comes first, and again where the sizes change.
    Planned(TransferPlan),
    /// What it is doing, in words for people: `waiting for another pull of this layer`.
    Status(String),
    /// How far one layer is. Never goes back, except where bytes turned out to be wrong and the
    /// layer begins anew.
    Layer(LayerProgress),
    /// Something that the user should know and that stops nothing.
    Warning(String),
}

/// What a transfer moves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransferPlan {
    /// The model's id, the digest of its manifest.
    pub id: Option<Digest>,
    /// Layers and config with their sizes in bytes, in the manifest's order; what is there already
    /// included.
    pub layers: Vec<(Digest, u64)>,
}

impl TransferPlan {
    /// Bytes of all layers.
    pub fn total(&self) -> u64 {
        self.layers.iter().map(|(_, size)| *size).fold(0, u64::saturating_add)
    }
}

/// How far one layer is. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerProgress {
    /// Which.
    pub layer: Digest,
    /// Its size.
    pub size: u64,
    /// What is done of it; `size` when it is verified and stored (or taken by the registry).
    pub current: u64,
}

/// How a pull ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The model's id.
    pub id: Digest,
    /// The qualified tag that it has now; `None` for a name pinned by digest.
    pub tag: Option<String>,
    /// Nothing had to be moved: the store had this very manifest.
    pub cached: bool,
    /// Bytes of all layers.
    pub bytes: u64,
}
