use crate::registry::media;
