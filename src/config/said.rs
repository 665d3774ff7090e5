use super::file::Entry;
use super::resolved::{Origin, Set};
use super::settings::Setting;
use super::values::is_off;
use super::{ConfigError, Env};

/// A value that somebody gave, before it is understood.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) text: &'a str,
    pub(super) origin: Origin,
    setting: Setting,
    /// Where in the line, for what a file says.
    column: usize,
}

impl<'a> Said<'a> {
    /// What the flag says, else the variable, else a settings file.
    pub(super) fn given(setting: Setting, flag: &'a Option<String>, env: &'a Env) -> Option<Self> {
        Self::pick(setting, flag.as_deref(), env)
    }

    /// The same, or the default.
    pub(super) fn or_default(setting: Setting, flag: &'a Option<String>, env: &'a Env) -> Self {
        Self::given(setting, flag, env).unwrap_or(Self::default_of(setting))
    }

    pub(super) fn default_of(setting: Setting) -> Self {
        Self { text: setting.default, origin: Origin::Default, setting, column: 0 }
    }

    pub(super) fn pick(setting: Setting, flag: Option<&'a str>, env: &'a Env) -> Option<Self> {
        let typed =
            flag.map(|text| Self { text, origin: Origin::Flag(setting.flag), setting, column: 0 });
        typed
            .or_else(|| Self::foreign(setting, setting.env, env))
            .or_else(|| Self::in_file(setting, env))
    }

    /// What a variable says, which may be another program's.
    pub(super) fn foreign(setting: Setting, name: &'static str, env: &'a Env) -> Option<Self> {
        Some(Self { text: env.get(name)?, origin: Origin::Env(name), setting, column: 0 })
    }

    /// The same in other words.
    pub(super) fn meaning(self, text: &'a str) -> Self {
        Self { text, ..self }
    }

    /// Whether it says of a listener that there is to be none.
    pub(super) fn is_off(self) -> bool {
        is_off(self.text)
    }

    /// What a settings file says with `false` where nobody says more: that it is off.
    pub(super) fn off(setting: Setting, flag: &Option<String>, env: &Env) -> Option<Origin> {
        if flag.is_some() || env.get(setting.env).is_some() {
            return None;
        }
        let (path, entry) =
            env.files.iter().find_map(|file| Some((file.path(), file.entry(&setting)?)))?;
        entry.text.is_none().then_some(Origin::File { path, line: entry.line })
    }

    fn in_file(setting: Setting, env: &'a Env) -> Option<Self> {
        let said = |file: &'a super::ConfigFile| Some((file.path(), file.entry(&setting)?));
        let (path, entry) = env.files.iter().find_map(said)?;
        let Entry { text, line, column } = entry;
        let origin = Origin::File { path, line: *line };
        Some(Self { text: text.as_deref()?, origin, setting, column: *column })
    }

    /// What to call it in an error: the way it was given.
    pub(super) fn name(self) -> &'static str {
        match self.origin {
            Origin::Flag(name) | Origin::Env(name) => name,
            Origin::File { .. } => self.setting.key(),
            Origin::Default => self.setting.name,
        }
    }

    /// How much its place counts; more beats less.
    pub(super) fn rank(self) -> u8 {
        Self::rank_of(self.origin)
    }

    pub(super) fn rank_of(origin: Origin) -> u8 {
        match origin {
            Origin::Flag(_) => 3,
            Origin::Env(_) => 2,
            Origin::File { .. } => 1,
            Origin::Default => 0,
        }
    }

    pub(super) fn map<T>(
        self,
        understand: impl FnOnce(&str) -> Result<T, ConfigError>,
    ) -> Result<Set<T>, ConfigError> {
        match understand(self.text) {
            Ok(value) => Ok(Set { value, origin: self.origin }),
            Err(error) => Err(self.placed(error)),
        }
    }

    pub(super) fn parse<T>(
        self,
        understand: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Set<T>, ConfigError> {
        self.map(|text| understand(text).map_err(|problem| invalid(self.name(), text, problem)))
    }

    /// The same error with its place, if a file is at fault.
    fn placed(self, error: ConfigError) -> ConfigError {
        match self.origin {
            Origin::File { path, line } => ConfigError::InFile {
                path: path.to_owned(),
                line,
                column: self.column,
                problem: error.to_string(),
            },
            Origin::Flag(_) | Origin::Env(_) | Origin::Default => error,
        }
    }
}

pub(super) fn unset<T>(value: T) -> Set<T> {
    Set { value, origin: Origin::Default }
}

pub(super) fn invalid(from: &'static str, value: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { from, value: value.to_owned(), problem: problem.into() }
}
