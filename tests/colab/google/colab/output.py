"""What anywidget asks of Colab: to let widgets in that are not ipywidgets' own."""

from types import SimpleNamespace

_widgets = SimpleNamespace(_installed_url=None)


def enable_custom_widget_manager():
    """Say where the page would find the manager of such widgets."""
    _widgets._installed_url = "manager.js"
