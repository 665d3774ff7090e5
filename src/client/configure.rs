use serde_json::Value;

use super::{Client, ClientError};

impl Client {
    /// Configures a model: the body of `POST /engines/_configure`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn configure(&self, what: &Value) -> Result<(), ClientError> {
        self.post_stream("/engines/_configure", what).await?.bytes().await.map(drop)
    }

    /// What is configured, of all models or of one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn configurations(&self, model: Option<&str>) -> Result<Value, ClientError> {
        match model {
            None => self.get("/engines/_configure").await,
            Some(model) => {
                let query = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("model", model)
                    .finish();
                self.get(&format!("/engines/_configure?{query}")).await
            }
        }
    }
}
