/** The page's own words, by language. Prompts come translated from the gateway. */
export const WORDS = {
  en: {
    skip: "Skip to help", help_title: "Can we help?", shop_title: "Use the shop", log_title: "What was decided",
    empty: "Nothing to ask right now. Use the shop: when something looks like it needs help, the right question appears here by itself.",
    you_are: "You are", new_shopper: "be someone else", search_label: "Search the shop", search: "Search",
    chat_label: "Open the chat and write", send: "Send", log_hint: "Silence is a decision too, and has a reason.",
    live: "live", waiting: "connecting", away: "connection lost, trying again",
    sent: "noted: {0}", failed: "not taken: {0}", retrying: "the log is away, trying again",
    thanks: "Thank you! Here we would open “{0}”.", dismissed: "All right, we will not ask that again for now.",
    dismiss: "Not now: {0}", none_of_these: "none of these",
    because: "Because of “{0}”{1} · model {2} · latent query {3} · {4} ms",
    search_hint: "where is my parcel", chat_hint: "I was charged twice", none: "none yet", fresh: "fresh", stale: "stale", made: "made {0} s ago", show: "asked", silent: "stayed silent", holdout: "held out",
    groups: { buy: "Buying", order: "Your order", look: "Looking around" },
    actions: {
      cart: "Fill the cart", checkout: "Go to checkout", payment_failed: "Payment failed", voucher: "Voucher rejected",
      place: "Place an order", delayed: "Parcel delayed", delivered: "Parcel delivered", order: "View order",
      return: "Ask for a return", help: "Open help", account: "View account", sign_in: "Sign-in failed", home: "Home page",
    },
    reasons: {
      ranked: "likely to help", explored: "to learn", below_floor: "nothing was likely enough to help",
      cap_reached: "asked often enough this session", cooldown: "asked a moment ago", nothing_eligible: "nothing fits this shopper",
      already_clicked: "already answered this session", holdout: "kept quiet for comparison", no_model: "no model is loaded yet",
    },
    triggers: {
      page_viewed: "page viewed", help_page_opened: "help opened", chat_opened: "chat opened", payment_failed: "payment failed",
      voucher_rejected: "voucher rejected", parcel_delayed: "parcel delayed", return_requested: "return requested",
      sign_in_failed: "sign-in failed",
    },
  },
  es: {
    skip: "Ir a la ayuda", help_title: "¿Le ayudamos?", shop_title: "Use la tienda", log_title: "Qué se decidió",
    empty: "Ahora no hay nada que preguntar. Use la tienda: cuando algo parezca necesitar ayuda, la pregunta adecuada aparecerá aquí por sí sola.",
    you_are: "Usted es", new_shopper: "ser otra persona", search_label: "Buscar en la tienda", search: "Buscar",
    chat_label: "Abrir el chat y escribir", send: "Enviar", log_hint: "El silencio también es una decisión, y tiene un motivo.",
    live: "en directo", waiting: "conectando", away: "sin conexión, reintentando",
    sent: "anotado: {0}", failed: "no aceptado: {0}", retrying: "el registro no responde, reintentando",
    thanks: "¡Gracias! Aquí se abriría «{0}».", dismissed: "De acuerdo, por ahora no lo preguntaremos más.",
    dismiss: "Ahora no: {0}", none_of_these: "ninguna de estas",
    because: "Por «{0}»{1} · modelo {2} · consulta latente {3} · {4} ms",
    search_hint: "dónde está mi paquete", chat_hint: "me cobraron dos veces", none: "aún ninguna", fresh: "actual", stale: "anterior", made: "hecha hace {0} s", show: "se preguntó", silent: "silencio", holdout: "reservado",
    groups: { buy: "Comprar", order: "Su pedido", look: "Mirar" },
    actions: {
      cart: "Llenar el carrito", checkout: "Ir a pagar", payment_failed: "Pago rechazado", voucher: "Cupón rechazado",
      place: "Hacer un pedido", delayed: "Paquete retrasado", delivered: "Paquete entregado", order: "Ver pedido",
      return: "Pedir devolución", help: "Abrir ayuda", account: "Ver cuenta", sign_in: "Acceso fallido", home: "Inicio",
    },
    reasons: {
      ranked: "probablemente ayude", explored: "para aprender", below_floor: "nada era lo bastante útil",
      cap_reached: "ya se preguntó bastante en esta sesión", cooldown: "se preguntó hace un momento",
      nothing_eligible: "nada encaja con esta persona", already_clicked: "ya se respondió en esta sesión",
      holdout: "en silencio para comparar", no_model: "aún no hay modelo cargado",
    },
    triggers: {
      page_viewed: "página vista", help_page_opened: "ayuda abierta", chat_opened: "chat abierto", payment_failed: "pago rechazado",
      voucher_rejected: "cupón rechazado", parcel_delayed: "paquete retrasado", return_requested: "devolución pedida",
      sign_in_failed: "acceso fallido",
    },
  },
};

/** Fills {0}, {1}, ... in a text. */
export const filled = (text, ...values) => text.replace(/\{(\d)\}/g, (_, index) => values[index] ?? "");
