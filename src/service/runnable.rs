use crate::domain::{Error, ErrorKind, ModelRef, Result, Wishes};
use crate::gguf::{self, Facts, GgufError, human_bytes};
use crate::models::LocalModel;
use crate::protocol::{LoadSpec, Purpose};
use crate::scheduler::Runnable;

use super::configure::InForce;

/// A context for models that do not say what they were trained for, in tokens.
const UNKNOWN_CONTEXT: u32 = 4_096;
/// Sequences of a model whose every sequence has a state of fixed size beside the KV cells.
const RECURRENT_SEQUENCES: u32 = 8;

/// How models are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSettings {
    /// The KV cells that a model gets where nobody says another number, in tokens (32,768). Its own
    /// context and the one that it was packaged with are ceilings, whoever says what.
    pub max_context: u32,
    /// Sequences at once (64). They share the cells, so more of them cost next to nothing.
    pub max_sequences: u32,
    /// Threads for compute; 0: as many as there are physical cores to use.
    pub threads: u32,
    /// A model's context is halved until its estimate is within so many bytes. `None`: no bound.
    pub memory_budget: Option<u64>,
    /// Whether a request for a model that is not in the store pulls it (no).
    pub auto_pull: bool,
}

impl Default for ModelSettings {
    /// The budget is the machine's memory.
    fn default() -> Self {
        Self {
            max_context: 32_768,
            max_sequences: 64,
            threads: 0,
            memory_budget: machine_memory(),
            auto_pull: false,
        }
    }
}

#[cfg(target_os = "linux")]
fn machine_memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    // By way of 128 bits, because the first is as wide as the machine's words.
    u64::try_from(u128::from(info.totalram) * u128::from(info.mem_unit)).ok()
}

#[cfg(not(target_os = "linux"))]
fn machine_memory() -> Option<u64> {
    None
}

/// What the queue needs to know of a model that was asked for as `asked`, to do `purpose` with it;
/// `None`: whatever it is for.
///
/// # Errors
/// `UnsupportedModel` if it cannot do that; `ModelTooLarge` if it does not fit even with the
/// smallest context; `InvalidModel` if its need cannot be counted.
pub(super) fn runnable(
    asked: &str,
    local: LocalModel,
    settings: &ModelSettings,
    purpose: Option<Purpose>,
    configured: &InForce,
    wishes: &Wishes,
) -> Result<Runnable> {
    let LocalModel { entry, weights, mmproj, chat_template, adapters, readable, facts, lease } =
        local;
    let own_purpose = purpose_of(&facts);
    if let Some(purpose) = purpose.filter(|purpose| *purpose != own_purpose) {
        return Err(wrong_kind(asked, own_purpose, purpose));
    }
    let InForce { settings: own_settings, keep_alive, revision } = configured;
    let sequences = own_settings.sequences.unwrap_or(settings.max_sequences);
    let max_sequences = match facts.shape.state_per_sequence {
        0 => sequences,
        _ => sequences.min(RECURRENT_SEQUENCES),
    };
    let own = facts.context_length.unwrap_or(UNKNOWN_CONTEXT);
    let packaged = entry.config.context_size.unwrap_or(u32::MAX);
    let said = wishes.context.or(own_settings.context).map(|said| said.max(gguf::MIN_CONTEXT));
    let wanted = said.unwrap_or(settings.max_context).min(own).min(packaged);
    // What is not for chats reads no images.
    let mmproj = mmproj.filter(|_| own_purpose == Purpose::Generate);
    // What a projector computes with comes on top, but nothing tells how much that is.
    let bytes = |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    let beside: u64 = mmproj.iter().chain(&adapters).map(bytes).fold(0, u64::saturating_add);
    let budget = settings.memory_budget.unwrap_or(u64::MAX);
    let for_model = budget.saturating_sub(beside);
    let uncountable = |fault: GgufError| {
        let message = format!("the memory that {asked} takes cannot be estimated: {fault}");
        Error::new(ErrorKind::InvalidModel, message)
    };
    let estimate = |context| match own_purpose {
        Purpose::Generate => gguf::estimate(&facts.shape, context, max_sequences),
        Purpose::Embed | Purpose::Rerank => gguf::estimate_pooled(&facts, context, max_sequences),
    };
    let needs = |context| estimate(context).map_err(uncountable);
    let context_size = gguf::fit_context(wanted, for_model, estimate).map_err(uncountable)?;
    let Some(context_size) = context_size else {
        let least = needs(gguf::MIN_CONTEXT.min(wanted))?.total().saturating_add(beside);
        let message = format!(
            "{asked} takes {} of memory with the smallest context; there are {} to use, \
             try a smaller quantization",
            human_bytes(least),
            human_bytes(budget)
        );
        return Err(Error::new(ErrorKind::ModelTooLarge, message));
    };
    if context_size < wanted {
        tracing::warn!(model = asked, wanted, context_size, "context cut to fit into memory");
    }
    let memory_bytes = needs(context_size)?.total().saturating_add(beside);
    let name = display_name(asked, &entry.tags).unwrap_or_else(|| entry.id.to_string());
    let spec = LoadSpec {
        name: name.clone(),
        purpose: own_purpose,
        weights,
        mmproj,
        chat_template,
        adapters,
        readable,
        context_size,
        max_sequences,
        threads: own_settings.threads.unwrap_or(settings.threads),
    };
    let (id, keep_alive, revision) = (entry.id, *keep_alive, *revision);
    Ok(Runnable { id, name, spec, memory_bytes, keep_alive, revision, lease })
}

/// What a model can do. One that says how it pools is for pooling, even where it could generate.
pub(super) fn purpose_of(facts: &Facts) -> Purpose {
    if facts.is_reranker {
        Purpose::Rerank
    } else if facts.is_embedder {
        Purpose::Embed
    } else {
        Purpose::Generate
    }
}

/// What the model is, and what to use it or another one for.
pub(super) fn wrong_kind(asked: &str, own: Purpose, wanted: Purpose) -> Error {
    let (kind, use_for) = match own {
        Purpose::Generate => ("a language model", "chat or completions"),
        Purpose::Embed => ("an embedding model", "embeddings"),
        Purpose::Rerank => ("a reranker", "reranking or scoring"),
    };
    let cannot = match wanted {
        Purpose::Generate => "cannot generate text",
        Purpose::Embed => "makes no embeddings",
        Purpose::Rerank => "cannot rerank",
    };
    let message = format!("{asked} is {kind}; it {cannot}: use it for {use_for}");
    Error::new(ErrorKind::UnsupportedModel, message)
}

/// The tag by which a model was asked for, else its first one.
fn display_name(asked: &str, tags: &[String]) -> Option<String> {
    let named = ModelRef::parse(asked).ok().map(|reference| reference.to_string());
    let same = tags.iter().find(|tag| Some(*tag) == named.as_ref());
    same.or_else(|| tags.first()).cloned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::gguf::testing::Writer;
    use crate::models::{Models, PackageOptions, PackagePlan};
    use crate::store::Store;

    /// A model of 512 tokens of context in a store of its own.
    struct Home {
        _dir: tempfile::TempDir,
        local: LocalModel,
    }

    async fn home(gguf: &Writer) -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        let weights: PathBuf = dir.path().join("model.gguf");
        std::fs::write(&weights, gguf.build()).expect("a file");
        let mut tar = Vec::new();
        let options = PackageOptions { weights, ..PackageOptions::default() };
        let plan = PackagePlan::new(&options).expect("a plan");
        plan.write_tar(&mut tar, &mut |_| {}).expect("a tar");
        let models = Models::new(Store::open(&dir.path().join("models")).expect("a store"));
        let entry = models.load_archive(Box::new(std::io::Cursor::new(tar))).await;
        let id = entry.expect("a model").id.to_string();
        models.tag(&id, "ai/first").await.expect("a tag");
        models.tag(&id, "ai/second").await.expect("a tag");
        let local = models.resolve(&id).await.expect("a model");
        Home { _dir: dir, local }
    }

    fn settings() -> ModelSettings {
        ModelSettings { memory_budget: None, ..ModelSettings::default() }
    }

    fn context(local: &LocalModel, settings: ModelSettings) -> Result<u32> {
        runnable(
            "ai/first",
            local.clone(),
            &settings,
            None,
            &InForce::default(),
            &Wishes::default(),
        )
        .map(|model| model.spec.context_size)
    }

    #[tokio::test]
    async fn the_smallest_of_all_ceilings_is_the_context() {
        let Home { mut local, _dir } = home(&Writer::tiny()).await;
        Arc::make_mut(&mut local.entry.config).context_size = None;
        assert_eq!(context(&local, settings()), Ok(512), "its own");
        assert_eq!(context(&local, ModelSettings { max_context: 300, ..settings() }), Ok(300));
        Arc::make_mut(&mut local.entry.config).context_size = Some(100);
        assert_eq!(context(&local, settings()), Ok(100), "the packaged one");
        let facts = Arc::make_mut(&mut local.facts);
        facts.context_length = None;
        Arc::make_mut(&mut local.entry.config).context_size = None;
        assert_eq!(context(&local, settings()), Ok(UNKNOWN_CONTEXT));
    }

    #[tokio::test]
    async fn a_wish_beats_the_setting_but_no_ceiling() {
        let Home { mut local, _dir } = home(&Writer::tiny()).await;
        Arc::make_mut(&mut local.entry.config).context_size = None;
        let settings = ModelSettings { max_context: 300, ..settings() };
        let wish = |local: &LocalModel, context| {
            let wishes = Wishes { context: Some(context), ..Wishes::default() };
            let model =
                runnable("ai/first", local.clone(), &settings, None, &InForce::default(), &wishes);
            model.expect("runnable").spec.context_size
        };
        assert_eq!(wish(&local, 400), 400);
        assert_eq!(wish(&local, 0), gguf::MIN_CONTEXT, "the least");
        assert_eq!(wish(&local, u32::MAX), 512, "its own");
        Arc::make_mut(&mut local.entry.config).context_size = Some(350);
        assert_eq!(wish(&local, 400), 350, "the packaged one");
    }

    #[tokio::test]
    async fn a_context_is_cut_to_the_budget_and_refused_below_it() {
        let Home { local, _dir } = home(&Writer::tiny()).await;
        let whole = runnable(
            "ai/first",
            local.clone(),
            &settings(),
            None,
            &InForce::default(),
            &Wishes::default(),
        )
        .expect("fits")
        .memory_bytes;
        let within = |bytes| ModelSettings { memory_budget: Some(bytes), ..settings() };
        assert_eq!(context(&local, within(whole)), Ok(512));
        assert_eq!(context(&local, within(whole - 1)), Ok(256));
        let refused = context(&local, within(1)).expect_err("too large");
        assert_eq!(refused.kind, ErrorKind::ModelTooLarge);
    }

    #[tokio::test]
    async fn projector_and_adapters_take_memory_of_their_own() {
        let Home { mut local, _dir } = home(&Writer::tiny()).await;
        let alone = runnable(
            "ai/first",
            local.clone(),
            &settings(),
            None,
            &InForce::default(),
            &Wishes::default(),
        )
        .expect("fits")
        .memory_bytes;
        let projector = _dir.path().join("mmproj.gguf");
        std::fs::write(&projector, [0; 1000]).expect("a file");
        local.mmproj = Some(projector.clone());
        let with = runnable(
            "ai/first",
            local.clone(),
            &settings(),
            None,
            &InForce::default(),
            &Wishes::default(),
        )
        .expect("fits");
        assert_eq!(with.memory_bytes, alone + 1000);
        assert_eq!(with.spec.mmproj, Some(projector.clone()));
        local.adapters = vec![projector.clone(), projector.clone()];
        let adapted = runnable(
            "ai/first",
            local.clone(),
            &settings(),
            None,
            &InForce::default(),
            &Wishes::default(),
        )
        .expect("fits");
        assert_eq!(adapted.memory_bytes, alone + 3000);
        assert_eq!(adapted.spec.adapters, local.adapters);
        local.adapters.clear();
        let budget = ModelSettings { memory_budget: Some(alone), ..settings() };
        assert_eq!(context(&local, budget), Ok(256));
    }

    #[tokio::test]
    async fn a_model_is_named_by_the_tag_that_was_asked_for() {
        let Home { local, _dir } = home(&Writer::tiny()).await;
        for (asked, name) in [
            ("second", "docker.io/ai/second:latest"),
            ("AI/First:latest", "docker.io/ai/first:latest"),
            (&local.entry.id.to_string(), "docker.io/ai/first:latest"),
        ] {
            let model = runnable(
                asked,
                local.clone(),
                &settings(),
                None,
                &InForce::default(),
                &Wishes::default(),
            )
            .expect("runnable");
            assert_eq!((model.name.as_str(), model.spec.name.as_str()), (name, name));
        }
    }

    #[tokio::test]
    async fn a_model_does_what_it_is_for_and_nothing_else() {
        let kinds = [Purpose::Generate, Purpose::Embed, Purpose::Rerank];
        for (own, pooling) in [(0, None), (1, Some(1)), (1, Some(3)), (2, Some(4))] {
            let file = match pooling {
                None => Writer::tiny(),
                Some(pooling) => Writer::tiny().u32("llama.pooling_type", pooling),
            };
            let local = home(&file).await.local;
            let own = kinds[own];
            let loaded = runnable(
                "x",
                local.clone(),
                &settings(),
                None,
                &InForce::default(),
                &Wishes::default(),
            )
            .expect("runnable");
            assert_eq!(loaded.spec.purpose, own);
            for wanted in kinds {
                let model = runnable(
                    "x",
                    local.clone(),
                    &settings(),
                    Some(wanted),
                    &InForce::default(),
                    &Wishes::default(),
                );
                let kind = model.map(|model| model.spec.purpose).map_err(|error| error.kind);
                let right = if wanted == own { Ok(own) } else { Err(ErrorKind::UnsupportedModel) };
                assert_eq!(kind, right, "{own:?} asked for {wanted:?}");
            }
        }
    }
}
