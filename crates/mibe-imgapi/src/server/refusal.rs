//! Errors as IMGAPI answers with them (sdc-imgapi, lib/errors.js): a status, and `{code, message, errors}` as JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mibe_image::manifest::Violation;
use serde_json::{Value, json};

/// Why a request is not done.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub errors: Vec<Value>,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            message: message.into(),
            errors: Vec::new(),
        }
    }

    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(404, "ResourceNotFound", what)
    }

    pub fn no_image() -> Self {
        Self::not_found("image not found")
    }

    /// A parameter or a field that can't be as it is; `code` is `Missing`, `Invalid` or `NotAllowed`.
    pub fn parameter(field: &str, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut refusal = Self::new(422, "InvalidParameter", message.clone());
        refusal
            .errors
            .push(json!({"field": field, "code": code, "message": message}));
        refusal
    }

    pub fn validation(field: &str, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: "ValidationFailed",
            ..Self::parameter(field, code, message)
        }
    }

    pub fn violations(violations: &[Violation]) -> Self {
        let fields: Vec<_> = violations.iter().map(|one| one.field.as_str()).collect();
        let mut refusal = Self::new(
            422,
            "ValidationFailed",
            format!("invalid image data: {}", fields.join(", ")),
        );
        refusal.errors = violations
            .iter()
            .map(|one| json!({"field": one.field, "code": "Invalid", "message": one.to_string()}))
            .collect();
        refusal
    }

    pub fn upload(message: impl Into<String>) -> Self {
        Self::new(400, "Upload", message)
    }

    pub fn download(message: impl Into<String>) -> Self {
        Self::new(400, "Download", message)
    }

    /// The folder of the images can't be read or written. What is wrong with it is for the one who runs the server.
    pub fn storage(error: &std::io::Error) -> Self {
        let full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge
        );
        if full {
            Self::new(503, "StorageIsDown", "there is no room for it")
        } else {
            Self::new(
                503,
                "StorageIsDown",
                "the server can't read or write its folder",
            )
        }
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "UnauthorizedError", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "NotAuthorized", message)
    }

    pub fn internal() -> Self {
        Self::new(500, "InternalError", "something went wrong in the server")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"code": self.code, "message": self.message});
        if !self.errors.is_empty() {
            body["errors"] = Value::Array(self.errors);
        }
        let text = serde_json::to_string_pretty(&body).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Signature realm=\"mibe\",headers=\"date\""),
            );
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"mibe\", charset=\"UTF-8\""),
            );
        }
        response
    }
}
