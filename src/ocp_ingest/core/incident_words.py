"""What each kind of incident means, for people who read Spanish; English is in core.incidents."""

from __future__ import annotations

from typing import Final, Literal

from ocp_ingest.core.incidents import INCIDENT_KINDS

Language = Literal["en", "es"]

IN_SPANISH: Final[dict[str, str]] = {
    "unassigned": "hay llamadas que no cumplen ninguna regla de enrutamiento y van al "
    'repositorio "unassigned"',
    "recording_conflict": "llegaron dos grabaciones distintas de un mismo diálogo; se conservan "
    "las dos",
    "object_conflict": "otro objeto ocupa el lugar de una grabación; no se ha sobrescrito nada",
    "step_parked": "un paso ha fallado demasiadas veces y espera a que alguien lo revise",
    "landing_missing": "una grabación recibida ya no está en el almacén de entrada",
    "subscription_silent": "las llamadas de un grupo llegan sin grabación, o no llegan: su "
    "suscripción parece inactiva",
    "group_blocked": "las exportaciones de un grupo están bloqueadas: OCP las rechaza o una "
    "exportación atascada las retiene",
    "group_half_open": "una exportación se atascó; se prueba el grupo con ventanas de una hora",
    "slot_busy": "una exportación ajena ocupa desde hace horas el turno de un grupo",
    "hours_quarantined": "OCP no puede exportar algunas horas de un grupo; se reintentan cada día",
    "windows_shrunk": "las descargas son demasiado lentas para el día que dura una exportación "
    "en OCP",
    "retention_near": "hay llamadas cerca del fin de la retención de OCP y sin su grabación",
    "vendor_down": "la API de exportación de OCP no responde",
    "recording_quarantined": "la copia que OCP tiene de una grabación es inservible",
    "recording_lost": "la retención de OCP terminó antes de poder obtener una grabación",
    "archive_damaged": "el archivo de auditoría encontró cambios ilegibles o que no deben existir",
    "calls_stuck": "hay llamadas que llevan en un mismo estado más tiempo del debido",
    "completeness_low": "se han guardado menos grabaciones de una línea de negocio de las que fija "
    "su objetivo",
    "stream_share_low": "el flujo en directo entrega menos grabaciones de las debidas; las trae la "
    "exportación",
    "conservation_broken": "hay llamadas sin justificar: las fuentes de los recuentos no coinciden",
    "evidence_broken": "eventos sellados, grabaciones guardadas o sellos ya no son lo que eran",
    "alerts_undelivered": "un canal no aceptó un aviso, por más veces que se intentó",
}


def meaning(kind: str, language: Language) -> str:
    """What a kind of incident means, in words; the kind itself where nothing is known of it."""
    words = IN_SPANISH if language == "es" else INCIDENT_KINDS
    return words.get(kind, kind)
