use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{
    ChatPrompt, Error, GenerateRequest, KeepAlive, Limits, Prompt, Result, Sampling, Thinking,
};
use crate::protocol::Purpose;

use super::Configuration;
use super::flags;

/// A [`Configuration`], understood. `None`: nothing is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::service) struct Settings {
    /// In tokens; [`super::ALL_CONTEXT`]: all that the model has.
    pub(in crate::service) context: Option<u32>,
    /// Sequences at once.
    pub(in crate::service) sequences: Option<u32>,
    /// Threads for compute; 0: as many as there are cores to use.
    pub(in crate::service) threads: Option<u32>,
    pub(super) sampling: Sampling,
    pub(super) max_tokens: Option<u32>,
    pub(super) ignore_eos: bool,
    pub(super) reasoning_budget: Option<i32>,
    /// Variables of the chat template, as JSON text.
    pub(super) template: BTreeMap<String, String>,
    /// What the flags take the model to be for.
    pub(super) purpose: Option<Purpose>,
}

/// What counts for a model now.
#[derive(Debug, Clone, Default)]
pub(in crate::service) struct InForce {
    pub(in crate::service) settings: Arc<Settings>,
    pub(in crate::service) keep_alive: Option<KeepAlive>,
    /// Counts the changes of how it is loaded.
    pub(in crate::service) revision: u64,
}

impl Settings {
    /// What a configuration asks for.
    ///
    /// # Errors
    /// `Unsupported` or `InvalidValue` for a flag, or two that contradict each other.
    pub(super) fn of(configuration: &Configuration) -> Result<Self> {
        let Configuration { context, keep_alive: _, reasoning_budget, flags } = configuration;
        let mut settings = flags::parse(flags)?;
        settings.context = agree("context-size", "--ctx-size", *context, settings.context)?;
        let budget = settings.reasoning_budget;
        settings.reasoning_budget =
            agree("llamacpp.reasoning-budget", "--reasoning-budget", *reasoning_budget, budget)?;
        Ok(settings)
    }

    /// Whether the model has to be loaded anew for these.
    pub(super) fn load_differs(&self, other: &Self) -> bool {
        let load = |settings: &Self| (settings.context, settings.sequences, settings.threads);
        load(self) != load(other)
    }

    /// Fills in what a request does not say.
    pub(in crate::service) fn complete(&self, request: &mut GenerateRequest) {
        let GenerateRequest { prompt, constraint: _, sampling, limits, output: _ } = request;
        self.complete_sampling(sampling);
        let Limits { max_tokens, stop: _, ignore_eos, shift: _ } = limits;
        *max_tokens = max_tokens.or(self.max_tokens);
        *ignore_eos |= self.ignore_eos;
        self.complete_prompt(prompt);
    }

    /// Fills in what a conversation does not say of its template.
    pub(in crate::service) fn complete_prompt(&self, prompt: &mut Prompt) {
        let Prompt::Chat(ChatPrompt { thinking, template_kwargs, .. }) = prompt else { return };
        for (name, value) in &self.template {
            template_kwargs.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let Thinking { enabled, effort: _, budget } = thinking;
        match self.reasoning_budget {
            Some(0) if enabled.is_none() && budget.is_none() => {
                (*enabled, *budget) = (Some(false), Some(0));
            }
            Some(most) if most > 0 && *enabled != Some(false) => {
                *budget = budget.or(u32::try_from(most).ok());
            }
            _ => {}
        }
        if enabled.is_none() {
            *enabled = self.template.get("enable_thinking").and_then(|text| text.parse().ok());
        }
    }

    fn complete_sampling(&self, sampling: &mut Sampling) {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            presence_penalty,
            frequency_penalty,
            repeat_penalty,
            repeat_last_n,
            logit_bias: _,
            typical_p,
        } = sampling;
        let own = &self.sampling;
        *temperature = temperature.or(own.temperature);
        *top_k = top_k.or(own.top_k);
        *top_p = top_p.or(own.top_p);
        *min_p = min_p.or(own.min_p);
        *seed = seed.or(own.seed);
        // These say 0 where nothing is said.
        if *presence_penalty == 0.0 {
            *presence_penalty = own.presence_penalty;
        }
        if *frequency_penalty == 0.0 {
            *frequency_penalty = own.frequency_penalty;
        }
        *repeat_penalty = repeat_penalty.or(own.repeat_penalty);
        *repeat_last_n = repeat_last_n.or(own.repeat_last_n);
        *typical_p = typical_p.or(own.typical_p);
    }
}

/// What a field and a flag say of the same thing.
fn agree<T: Copy + PartialEq>(
    field: &str,
    flag: &str,
    said: Option<T>,
    flagged: Option<T>,
) -> Result<Option<T>> {
    match (said, flagged) {
        (Some(said), Some(flagged)) if said != flagged => {
            let message = format!(
                "`{field}` and the runtime flag `{flag}` contradict each other; set one of them, \
                 and the other to null"
            );
            Err(Error::invalid(field, message))
        }
        _ => Ok(said.or(flagged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Message, Role};

    fn settings(flags: &[&str]) -> Settings {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Settings::of(&Configuration { flags, ..Configuration::default() }).expect("flags")
    }

    fn chat() -> GenerateRequest {
        let messages = vec![Message::text(Role::User, "Hi")];
        GenerateRequest::new(Prompt::Chat(ChatPrompt::new(messages)))
    }

    fn thinking(request: &GenerateRequest) -> &Thinking {
        let Prompt::Chat(chat) = &request.prompt else { panic!("a chat") };
        &chat.thinking
    }

    #[test]
    fn a_request_that_says_nothing_gets_what_is_configured() {
        let settings = settings(&["--temp", "0.5", "-n", "7", "--top-k=3", "--ignore-eos"]);
        let mut request = chat();
        settings.complete(&mut request);
        assert_eq!((request.sampling.temperature, request.sampling.top_k), (Some(0.5), Some(3)));
        assert_eq!((request.limits.max_tokens, request.limits.ignore_eos), (Some(7), true));
        assert_eq!(request.sampling.top_p, None, "the file's");
    }

    #[test]
    fn what_a_request_says_wins() {
        let settings = settings(&["--temp", "0.5", "-n", "7", "--presence-penalty", "1"]);
        let mut request = chat();
        request.sampling.temperature = Some(0.0);
        request.sampling.presence_penalty = 0.25;
        request.limits.max_tokens = Some(9);
        let said = request.clone();
        settings.complete(&mut request);
        assert_eq!(request, said);
    }

    #[test]
    fn thinking_is_bounded_for_who_does_not_say_how_long() {
        let mut request = chat();
        settings(&["--reasoning-budget", "0"]).complete(&mut request);
        assert_eq!(thinking(&request).enabled, Some(false));
        settings(&["--reasoning-budget", "50"]).complete(&mut request);
        assert_eq!(thinking(&request).budget, Some(0), "said already");
        let mut request = chat();
        settings(&["--reasoning-budget", "50"]).complete(&mut request);
        assert_eq!(thinking(&request).budget, Some(50));
        let mut request = chat();
        settings(&["--reasoning-budget", "-1"]).complete(&mut request);
        assert_eq!(*thinking(&request), Thinking::default());
        settings(&["--chat-template-kwargs", r#"{"enable_thinking":false,"x":1}"#])
            .complete(&mut request);
        assert_eq!(thinking(&request).enabled, Some(false));
    }

    #[test]
    fn a_field_and_a_flag_may_not_contradict_each_other() {
        let both = |context| Configuration {
            context: Some(context),
            flags: vec!["-c".into(), "512".into()],
            ..Configuration::default()
        };
        assert_eq!(Settings::of(&both(512)).expect("the same").context, Some(512));
        let error = Settings::of(&both(513)).expect_err("another");
        assert_eq!(error.param.as_deref(), Some("context-size"));
    }

    #[test]
    fn only_some_changes_need_a_load() {
        let nothing = Settings::default();
        assert!(nothing.load_differs(&settings(&["-c", "512"])));
        assert!(nothing.load_differs(&settings(&["-np", "2"])));
        assert!(nothing.load_differs(&settings(&["--threads", "2"])));
        assert!(!nothing.load_differs(&settings(&["--temp", "1", "--jinja"])));
    }
}
