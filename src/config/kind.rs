use super::settings::{self, Setting};

/// Settings that take several values: an array in the file, commas elsewhere.
const LISTS: [&str; 6] = [
    settings::ORIGIN.flag,
    settings::REGISTRY_MIRROR.flag,
    settings::INSECURE_REGISTRY.flag,
    settings::REGISTRY_PRIVATE_HOST.flag,
    settings::REGISTRY_CA.flag,
    settings::SIGNATURE_KEY.flag,
];

/// What a setting looks like in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Switch,
    /// A whole number.
    Number,
    /// `5m`, or a number of seconds.
    Duration,
    /// An address or a port; `true` is what the bare flag is.
    Listener,
    /// Several texts.
    List,
    /// A text.
    Text,
}

impl Kind {
    /// That of a setting, as its placeholder and its default show it.
    pub fn of(setting: &Setting) -> Self {
        let value = setting.value;
        if LISTS.contains(&setting.flag) {
            Self::List
        } else if value.contains("on|off") {
            Self::Switch
        } else if value == "DURATION" {
            Self::Duration
        } else if value.starts_with('[') && value.contains("PORT") {
            Self::Listener
        } else if setting.default.parse::<u64>().is_ok() {
            Self::Number
        } else {
            Self::Text
        }
    }

    /// What may stand in the file, for people.
    pub fn allowed(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Number => "a whole number",
            Self::Duration => "a duration in quotes, such as \"5m\", or a number of seconds",
            Self::Listener => "an address in quotes, a port, or true",
            Self::List => "an array of texts, or one text with commas",
            Self::Text => "a text in quotes",
        }
    }

    /// The same in a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Switch => "boolean",
            Self::Number => "integer",
            Self::Duration => "duration",
            Self::Listener => "address, port or boolean",
            Self::List => "array of strings",
            Self::Text => "string",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SETTINGS;
    use super::*;

    #[test]
    fn every_list_is_a_setting_that_says_so() {
        let says = |s: &&Setting| s.meaning.contains("several with commas");
        let lists: Vec<&str> = SETTINGS.iter().filter(says).map(|s| s.flag).collect();
        assert_eq!(lists, LISTS);
    }

    #[test]
    fn kinds_follow_from_placeholders() {
        for (setting, kind) in [
            (settings::SOCKET, Kind::Text),
            (settings::TCP, Kind::Listener),
            (settings::CONTAINERS, Kind::Listener),
            (settings::OLLAMA_PORT, Kind::Listener),
            (settings::KEEP_ALIVE, Kind::Duration),
            (settings::MAX_QUEUE, Kind::Number),
            (settings::CONTEXT, Kind::Number),
            (settings::AUTO_PULL, Kind::Switch),
            (settings::NO_METRICS, Kind::Switch),
            (settings::LOG, Kind::Text),
            (settings::REGISTRY_MIRROR, Kind::List),
        ] {
            assert_eq!(Kind::of(&setting), kind, "{}", setting.flag);
        }
    }
}
