import 'vue-router'

declare module 'vue-router' {
  interface RouteMeta {
    /** The name of the page that the route belongs to. */
    page?: string
  }
}
