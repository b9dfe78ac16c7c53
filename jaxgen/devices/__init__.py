"""Where computation happens: devices and processes, and what it costs."""
