"""A crystal whose thermodynamics is known exactly, and sweeps made of it.

Its static energy is that of Murnaghan, its modes have Grüneisen parameters of their own:
``theta_k(V) = theta_k (V / V0)^-gamma_k``.  Free energy, entropy, pressure, expansion,
bulk modulus and heat capacities are closed forms or derivatives of them.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from sscha_mlp import units
from sscha_mlp.properties.einstein import (
    einstein_energy,
    einstein_entropy,
    einstein_heat_capacity,
)
from sscha_mlp.properties.phase_tables import Phase
from sscha_mlp.run_files.json_fields import Value
from sscha_mlp.studies.sweep.point import PointResponse, SweepPoint
from sscha_mlp.studies.sweep.table import Sweep


@dataclass(frozen=True)
class QuasiHarmonic:
    """Per atom: three modes for each Einstein temperature, in equal shares."""

    energy: float = 0.0  # eV
    volume: float = 20.0  # Å³
    bulk_modulus: float = 90.0  # GPa
    derivative: float = 4.2
    thetas: tuple[float, ...] = (180.0, 320.0, 470.0, 560.0, 640.0, 720.0)  # K
    gammas: tuple[float, ...] = (0.9,) * 6

    def moved(self, volume: float) -> np.ndarray:
        return np.array(self.thetas) * (volume / self.volume) ** -np.array(self.gammas)

    def free_energy(self, volume: float, temperature: float) -> float:
        x, n, bulk = volume / self.volume, self.derivative, self.bulk_modulus * units.GPA
        static = bulk * self.volume * (x / n * (x**-n / (n - 1) + 1) - 1 / (n - 1))
        share = 3.0 / len(self.thetas)
        modes = sum(
            einstein_energy(temperature, one, zero_point=True)
            - temperature * einstein_entropy(temperature, one)
            for one in self.moved(volume)
        )
        return float(self.energy + static + units.KB * share * modes)

    def pressure(self, volume: float, temperature: float) -> float:
        """In eV/Å³."""
        x, n = volume / self.volume, self.derivative
        static = self.bulk_modulus * units.GPA / n * (x**-n - 1)
        share = 3.0 / len(self.thetas)
        modes = sum(
            gamma * einstein_energy(temperature, one, zero_point=True)
            for gamma, one in zip(self.gammas, self.moved(volume), strict=True)
        )
        return float(static + units.KB * share * modes / volume)

    def volume_at(self, temperature: float, pressure: float) -> float:
        def missing(volume: float) -> float:
            return self.pressure(volume, temperature) - pressure * units.GPA

        return float(brentq(missing, 0.5 * self.volume, 1.5 * self.volume, xtol=1e-13, rtol=1e-14))

    def gibbs(self, temperature: float, pressure: float) -> float:
        volume = self.volume_at(temperature, pressure)
        return self.free_energy(volume, temperature) + pressure * units.GPA * volume

    def entropy(self, temperature: float, pressure: float) -> float:
        moved = self.moved(self.volume_at(temperature, pressure))
        share = 3.0 / len(self.thetas)
        return share * float(sum(einstein_entropy(temperature, one) for one in moved))

    def expansion(self, temperature: float, pressure: float, step: float = 0.05) -> float:
        low, high = (self.volume_at(temperature + s * step, pressure) for s in (-1, 1))
        return (high - low) / (2 * step * self.volume_at(temperature, pressure))

    def bulk_modulus_at(self, temperature: float, pressure: float) -> float:
        """Isothermal, GPa."""
        volume = self.volume_at(temperature, pressure)
        low, high = (self.pressure(volume * (1 + s * 1e-5), temperature) for s in (-1, 1))
        return (low - high) / 2e-5 / units.GPA

    def heat_capacity_v(self, temperature: float, pressure: float) -> float:
        moved = self.moved(self.volume_at(temperature, pressure))
        share = 3.0 / len(self.thetas)
        return share * float(sum(einstein_heat_capacity(temperature, one) for one in moved))

    def heat_capacity_p(self, temperature: float, pressure: float) -> float:
        alpha, bulk = (
            self.expansion(temperature, pressure),
            self.bulk_modulus_at(temperature, pressure),
        )
        volume = self.volume_at(temperature, pressure)
        more = temperature * volume * alpha**2 * bulk * units.GPA / units.KB
        return self.heat_capacity_v(temperature, pressure) + more


@dataclass(frozen=True)
class Noise:
    """Standard errors, per atom."""

    volume: float = 2e-3  # Å³
    gibbs: float = 1e-4  # eV
    entropy: float = 2e-3  # k_B


FOUR = (185.0, 430.0, 600.0, 715.0)
"""Einstein temperatures that span the modes of the crystal without being them."""


def make_sweep(
    crystal: QuasiHarmonic,
    temperatures: list[float],
    pressures: list[float],
    rng: np.random.Generator,
    *,
    noise: Noise = Noise(),
    formula: str = "Si2",
) -> Sweep:
    """A sweep as ``sscha-mlp sweep`` writes it, with noise on what has an error."""
    points = [
        make_point(crystal, t, p, rng, noise, labels=120 if n == 0 else 20)
        for n, (p, t) in enumerate((p, t) for p in pressures for t in temperatures)
    ]
    return Sweep(
        formula=formula,
        space_group="Fd-3m",
        n_atoms=2,
        supercell=(2, 2, 2),
        reference="tersoff",
        model="mtp",
        nuclei="quantum",
        seed=0,
        labels_total=sum(one.labels_new for one in points),
        einstein_temperatures_K=FOUR,
        points=tuple(points),
    )


def make_point(
    crystal: QuasiHarmonic,
    temperature: float,
    pressure: float,
    rng: np.random.Generator,
    noise: Noise,
    *,
    labels: int = 20,
) -> SweepPoint:
    def noisy(exact: float, stderr: float) -> Value:
        return Value(exact + stderr * float(rng.standard_normal()), stderr)

    volume = noisy(crystal.volume_at(temperature, pressure), noise.volume)
    side = (8.0 * volume.value) ** (1.0 / 3.0)
    length = Value(side, side * volume.stderr / volume.value / 3.0)
    gibbs = noisy(crystal.gibbs(temperature, pressure), noise.gibbs)
    work = pressure * units.GPA * volume.value
    alpha = crystal.expansion(temperature, pressure) if temperature > 0 else 0.0
    capacity = crystal.heat_capacity_v(temperature, pressure)
    response = PointResponse(
        bulk_modulus_GPa=noisy(crystal.bulk_modulus_at(temperature, pressure), 0.4),
        expansion_per_K=noisy(alpha, 3e-7),
        gruneisen=noisy(0.9, 0.02),
        heat_capacity_v_kB=noisy(capacity, 0.01),
        heat_capacity_p_kB=noisy(
            crystal.heat_capacity_p(temperature, pressure) if temperature > 0 else 0.0, 0.012
        ),
    )
    exact = crystal.entropy(temperature, pressure)
    return SweepPoint(
        temperature_K=temperature,
        pressure_GPa=pressure,
        directory=f"T{temperature:g}-P{pressure:g}",
        converged=True,
        stop_reason="converged",
        volume_A3_per_atom=volume,
        cell_lengths_A=(length, length, length),
        cell_angles_deg=(90.0, 90.0, 90.0),
        free_energy_eV_per_atom=replace(gibbs, value=gibbs.value - work),
        gibbs_eV_per_atom=gibbs,
        entropy_kB=noisy(exact, noise.entropy) if temperature > 0 else Value(0.0, 0.0),
        labels_new=labels,
        response=response,
        soft_mode={
            "squared_frequency_THz2": 0.01 * (temperature - 450.0),
            "stderr_THz2": 0.3,
            "q": [0.0, 0.0, 0.5],
        },
    )


def make_phase(
    crystal: QuasiHarmonic,
    temperatures: list[float],
    pressures: list[float],
    rng: np.random.Generator,
    *,
    name: str = "A",
    formula: str = "Si2",
    noise: Noise = Noise(),
) -> Phase:
    """The same points as arrays."""
    places = [(t, p) for p in pressures for t in temperatures]
    exact = np.array(
        [(crystal.gibbs(t, p), crystal.entropy(t, p), crystal.volume_at(t, p)) for t, p in places]
    )
    errors = np.broadcast_to([noise.gibbs, noise.entropy, noise.volume], exact.shape).copy()
    t, p = np.array(places).T
    errors[t == 0.0, 1] = 0.0
    seen = exact + errors * rng.standard_normal(exact.shape)
    return Phase(
        name=name,
        formula=formula,
        temperatures=t,
        pressures=p,
        gibbs=seen[:, 0],
        gibbs_stderr=errors[:, 0],
        entropies=seen[:, 1],
        entropies_stderr=errors[:, 1],
        volumes=seen[:, 2],
        volumes_stderr=errors[:, 2],
        einstein_temperatures=FOUR,
    )
