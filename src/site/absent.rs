//! What answers for an address at which there is nothing: the page of a program that routes in the browser, the
//! operator's own page, or ours.

use super::negotiation::media_weight;
use super::representation::Representation;
use super::{Site, negotiated};
use crate::http::{Request, Status};
use crate::service::{Context, Response, Service};

/// The page that answers for what does not exist, if the root has it.
const NOT_FOUND_PAGE: &str = "404.html";

impl Site {
    /// 404, or what stands in for it. `name` is `None` if the path could not even be a name here.
    pub(super) fn not_found(
        &mut self,
        name: Option<&[u8]>,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Response {
        let Some(name) = name.filter(|_| self.config.options.spa) else { return self.missing(context) };
        // With a dot it is a script or a picture, unless the client says that it is after a page.
        let dotted = name.rsplit(|&octet| octet == b'/').next().is_some_and(|last| last.contains(&b'.'));
        let is_page = !dotted || media_weight(request.headers, b"text/html") > 0;
        let program = is_page.then(|| self.program(request, context)).flatten();
        let mut response = program.unwrap_or_else(|| self.missing(context));
        if dotted {
            response.fields = [&*response.fields, b"Vary: Accept\r\n"].concat().into();
        }
        response
    }

    /// The root's index, if there is one.
    fn program(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let answer = self.with_entry(b"", context, |entry, root, watch, config| {
            negotiated(entry, request, root, watch, config, context)
        });
        answer.ok()
    }

    fn missing(&mut self, context: &Context<'_>) -> Response {
        let page = self.with_entry(NOT_FOUND_PAGE.as_bytes(), context, |entry, _, _, config| {
            let Representation { content, content_type, .. } = entry.plain();
            let fields = format!("Content-Type: {content_type}\r\n{}", config.common);
            Response {
                status: Status::NOT_FOUND,
                fields: fields.into_bytes().into(),
                content: content.clone(),
            }
        });
        page.unwrap_or_else(|_| self.refuse(Status::NOT_FOUND, "There is nothing at this address."))
    }
}
