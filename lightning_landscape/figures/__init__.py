"""Figures of records: pure functions that return a Matplotlib figure, a Plotly figure, or write a file."""

from lightning_landscape.figures.animation import animate
from lightning_landscape.figures.comparison import plot_comparison
from lightning_landscape.figures.contours import plot_contours
from lightning_landscape.figures.curves import plot_curves
from lightning_landscape.figures.errors import plot_errors
from lightning_landscape.figures.interactive import interactive_surface, write_html
from lightning_landscape.figures.quantization import plot_distributions, plot_error_floors, plot_training_errors
from lightning_landscape.figures.report import Report, RunSummary, write_report
from lightning_landscape.figures.samples import animate_samples, plot_samples
from lightning_landscape.figures.sketch import plot_sketch
from lightning_landscape.figures.surface3d import plot_surface
from lightning_landscape.figures.trajectory import plot_trajectory
from lightning_landscape.figures.vtk import write_vtk

__all__ = [
    "Report",
    "RunSummary",
    "animate",
    "animate_samples",
    "interactive_surface",
    "plot_comparison",
    "plot_contours",
    "plot_curves",
    "plot_errors",
    "plot_distributions",
    "plot_error_floors",
    "plot_sketch",
    "plot_samples",
    "plot_surface",
    "plot_training_errors",
    "plot_trajectory",
    "write_html",
    "write_report",
    "write_vtk",
]
