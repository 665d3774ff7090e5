use crate::domain::Result;
use crate::models::Profile;

use super::Service;

impl Service {
    /// What is stored with a model about how to talk to it: a system prompt, parameters that hold
    /// where a request says nothing, messages that come before those of a request, its template and
    /// licences. Nothing here is applied by the service itself; Ollama's API does it, whose clients
    /// expect it. Cheap for models that have nothing of the kind.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `InvalidModel` for a stored part that cannot be read.
    pub async fn ollama_profile(&self, model: &str) -> Result<Profile> {
        self.models.profile(model).await
    }
}
