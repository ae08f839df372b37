"""Figures of records: pure functions that return a Matplotlib figure, a Plotly figure, or write a file."""

from lightning_landscape.figures.animation import animate
from lightning_landscape.figures.comparison import plot_comparison
from lightning_landscape.figures.contours import plot_contours
from lightning_landscape.figures.convexity import plot_convexity
from lightning_landscape.figures.curve_sets import plot_curve_sets
from lightning_landscape.figures.curves import plot_curves
from lightning_landscape.figures.errors import plot_errors
from lightning_landscape.figures.gallery import Exhibit, write_gallery
from lightning_landscape.figures.interactive import interactive_surface, write_html
from lightning_landscape.figures.interpolation import plot_interpolations
from lightning_landscape.figures.panels import Panel, Series, plot_panels
from lightning_landscape.figures.paths import plot_paths
from lightning_landscape.figures.quantization import plot_distributions, plot_error_floors, plot_training_errors
from lightning_landscape.figures.report import Report, RunSummary, write_report
from lightning_landscape.figures.samples import animate_samples, plot_samples
from lightning_landscape.figures.sketch import plot_sketch
from lightning_landscape.figures.spectrum import plot_sharpness, plot_spectrum
from lightning_landscape.figures.stiffness import plot_class_stiffness, plot_stiffness, plot_stiffness_distance
from lightning_landscape.figures.subspace import plot_subspace
from lightning_landscape.figures.surface3d import plot_surface
from lightning_landscape.figures.trajectory import plot_trajectory
from lightning_landscape.figures.vtk import write_vtk

__all__ = [
    "Exhibit",
    "Panel",
    "Report",
    "RunSummary",
    "Series",
    "animate",
    "animate_samples",
    "interactive_surface",
    "plot_class_stiffness",
    "plot_comparison",
    "plot_contours",
    "plot_convexity",
    "plot_curve_sets",
    "plot_curves",
    "plot_errors",
    "plot_distributions",
    "plot_error_floors",
    "plot_interpolations",
    "plot_paths",
    "plot_samples",
    "plot_sketch",
    "plot_panels",
    "plot_sharpness",
    "plot_spectrum",
    "plot_stiffness",
    "plot_stiffness_distance",
    "plot_subspace",
    "plot_surface",
    "plot_training_errors",
    "plot_trajectory",
    "write_gallery",
    "write_html",
    "write_report",
    "write_vtk",
]
