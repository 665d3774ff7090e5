/// What was typed on the command line, unchecked. `None`: the flag was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawConfig {
    /// `--socket PATH`
    pub socket: Option<String>,
    /// `--tcp [[HOST:]PORT]`; the empty text stands for the bare flag.
    pub tcp: Option<String>,
    /// `--containers [ADDRESS]`; the empty text stands for the bare flag.
    pub containers: Option<String>,
    /// `--ollama-port [[HOST:]PORT]`; the empty text stands for the bare flag.
    pub ollama_port: Option<String>,
    /// `--origin ORIGIN`
    pub origin: Option<String>,
    /// `--models-path DIR`
    pub models_path: Option<String>,
    /// `--keep-alive DURATION`
    pub keep_alive: Option<String>,
    /// `--max-queue N`
    pub max_queue: Option<String>,
    /// `--max-queue-tokens N`
    pub max_queue_tokens: Option<String>,
    /// `--context N`
    pub context: Option<String>,
    /// `--max-pulls N`
    pub max_pulls: Option<String>,
    /// `--auto-pull [on|off]`
    pub auto_pull: Option<String>,
    /// `--grace DURATION`
    pub grace: Option<String>,
    /// `--registry-mirror [HOST=]URL`
    pub registry_mirror: Option<String>,
    /// `--insecure-registry HOST[:PORT]`
    pub insecure_registry: Option<String>,
    /// `--registry-private-host HOST[:PORT]`
    pub registry_private_host: Option<String>,
    /// `--registry-ca FILE`
    pub registry_ca: Option<String>,
    /// `--hub-url URL`
    pub hub_url: Option<String>,
    /// `--signature-key PATTERN=FILE`
    pub signature_key: Option<String>,
    /// `--log FILTER`
    pub log: Option<String>,
    /// `--log-format text|json`
    pub log_format: Option<String>,
    /// `--log-file PATH`
    pub log_file: Option<String>,
    /// `--no-log-file [on|off]`
    pub no_log_file: Option<String>,
    /// `--core-dumps [on|off]`
    pub core_dumps: Option<String>,
    /// `--record-requests [on|off]`
    pub record_requests: Option<String>,
    /// `--no-metrics [on|off]`
    pub no_metrics: Option<String>,
}
