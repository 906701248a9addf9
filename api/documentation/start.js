// Starts Swagger UI on our description. A file of its own, since the page may run no script that stands in it.
const { presets } = SwaggerUIBundle;

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  presets: [presets.apis],
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false, // a key must not outlive the tab
});
